"""All pairs on the CPU: whitened rows, one BLAS product a block, and close pairs again from the original rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pairs", "repair_below"]

_ROWS = 256
_OTHERS = 512
#: Up to this many columns differences cost no more than a product.
_NARROW = 4
_WANTED = {"float32": 2e-6, "float64": 1e-12}


def repair_below(dtype: Any, width: int) -> float:
    """Share of ``|x|^2 + |y|^2`` below which a squared distance is computed again; derived in README.md."""
    kind = np.dtype(dtype)
    unit = float(np.finfo(kind).eps) / 2
    return float(np.sqrt(width) + 4) * unit / _WANTED[kind.name]


def pairs(X: NDArray[Any], Y: NDArray[Any], factor: NDArray[np.float64], out: NDArray[Any], *, squared: bool) -> None:
    """Write the distances into ``out`` ``[n, m]``."""
    if X.shape[1] <= _NARROW:
        _differences(X, Y, factor, out, squared)
        return
    # Whitened in float64 and only then rounded; the origin moves to the mean, where norms are small.
    shift = Y.mean(axis=0, dtype=np.float64)
    left = (X.astype(np.float64) - shift) @ factor
    right = left if Y is X else (Y.astype(np.float64) - shift) @ factor
    norms = np.einsum("ij,ij->i", left, left), np.einsum("ij,ij->i", right, right)
    a, b = (np.ascontiguousarray(side, X.dtype) for side in (left, right))
    share = repair_below(X.dtype, factor.shape[1])
    _products(X, Y, factor, a, b, norms[0], norms[1], share, out, squared, numba.get_num_threads())


@numba.njit(cache=True, fastmath={"contract", "reassoc"})
def _exact(x, y, factor):  # type: ignore[no-untyped-def]
    """|W^T (x - y)|^2 from the original rows, in float64."""
    d, r = factor.shape
    part = np.zeros(r)
    for j in range(d):
        difference = np.float64(x[j]) - np.float64(y[j])
        for c in range(r):
            part[c] += difference * factor[j, c]
    total = 0.0
    for c in range(r):
        total += part[c] * part[c]
    return total


@numba.njit(parallel=True, cache=True)
def _differences(X, Y, factor, out, squared):  # type: ignore[no-untyped-def]
    for i in numba.prange(len(X)):
        for j in range(len(Y)):
            total = _exact(X[i], Y[j], factor)
            out[i, j] = total if squared else np.sqrt(total)


@numba.njit(parallel=True, cache=True, fastmath={"contract"})
def _products(X, Y, factor, a, b, norms_a, norms_b, share, out, squared, threads):  # type: ignore[no-untyped-def]
    n, m = out.shape
    blocks = (n + _ROWS - 1) // _ROWS
    for thread in numba.prange(threads):
        buffer = np.empty(_ROWS * _OTHERS, a.dtype)
        for block in range(thread, blocks, threads):
            start = block * _ROWS
            count = min(_ROWS, n - start)
            for first in range(0, m, _OTHERS):
                width = min(_OTHERS, m - first)
                product = buffer[: count * width].reshape(count, width)
                np.dot(a[start : start + count], b[first : first + width].T, product)
                for i in range(count):
                    own = norms_a[start + i]
                    close = False
                    for j in range(width):
                        size = own + norms_b[first + j]
                        total = size - 2.0 * np.float64(product[i, j])
                        close |= total < share * size
                        out[start + i, first + j] = max(total, 0.0) if squared else np.sqrt(max(total, 0.0))
                    if close:
                        for j in range(width):
                            size = own + norms_b[first + j]
                            if size - 2.0 * np.float64(product[i, j]) < share * size:
                                total = _exact(X[start + i], Y[first + j], factor)
                                out[start + i, first + j] = total if squared else np.sqrt(total)
