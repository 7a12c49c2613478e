"""Rows to components with a factor each: differences, products and their squares in one pass, never ``[n, k, d]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.arrays import empty_on_lines, writable
from fastclust_kernels.mahalanobis._tiles import TILE, add_squares, address_tile, pack, used_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["paired", "to_components"]

_ROWS_BYTES = 1 << 17
_MOST_ROWS = 128


def to_components(
    X: NDArray[Any], means: NDArray[np.float64], factors: NDArray[np.float64], out: NDArray[Any], *, squared: bool
) -> None:
    """Write the distances into ``out`` ``[n, k]``: computed in the dtype of ``X``, differences in float64."""
    d = X.shape[1]
    each = [pack(factor.astype(X.dtype)) for factor in factors]
    packed = np.stack(each, out=empty_on_lines((len(each), *each[0].shape), X.dtype))
    first, last = used_of(packed)
    rows = int(np.clip(_ROWS_BYTES // (d * X.itemsize) // TILE * TILE, TILE, _MOST_ROWS))
    _components(writable(X), means, packed, first, last, out, squared, rows, numba.get_num_threads())


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _components(X, means, packed, first, last, out, squared, rows, threads):  # type: ignore[no-untyped-def]
    for thread in numba.prange(threads):
        _thread(X, means, packed, first, last, out, squared, rows, np.int64(thread), threads)


@numba.njit(cache=True, nogil=True)
def _thread(X, means, packed, first, last, out, squared, rows, thread, threads):  # type: ignore[no-untyped-def]
    """Every ``threads``-th block of rows. In a function of its own, which compiles faster than a parallel loop."""
    n, d = X.shape
    k, p, _, lanes = packed.shape
    address = np.empty(TILE, np.int64)
    moved = np.empty((rows, d), X.dtype)
    sums = np.empty((rows // TILE, TILE, lanes), X.dtype)
    for start in range(thread * rows, n, threads * rows):
        count = min(rows, n - start)
        for component in range(k):
            mean = means[component]
            for i in range(count):
                for j in range(d):
                    moved[i, j] = np.float64(X[start + i, j]) - mean[j]
            sums[:] = 0
            for g in range(p):
                begin = first[component, g]
                width = last[component, g] - begin
                for tile in range(0, count, TILE):
                    address_tile(address, moved.ctypes.data, moved.strides[0], tile, count)
                    add_squares(address, packed[component, g], begin, width, sums[tile // TILE])
            for i in range(count):
                total = 0.0
                for lane in range(lanes):
                    total += np.float64(sums[i // TILE, i % TILE, lane])
                out[start + i, component] = total if squared else np.sqrt(total)


def paired(X: NDArray[Any], Y: NDArray[Any], factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distance of each row of ``X`` to the row of ``Y`` beside it, by differences in float64: ``[n]``."""
    out = np.full(len(X), np.nan)
    packed = pack(np.ascontiguousarray(factor))
    _paired(writable(X), writable(Y), packed, out)
    return out


@numba.njit(parallel=only_loops(), cache=True, nogil=True, fastmath={"contract"})
def _paired(X, Y, packed, out):  # type: ignore[no-untyped-def]
    n, d = X.shape
    p, _, lanes = packed.shape
    rows = 32
    for block in numba.prange((n + rows - 1) // rows):
        address = np.empty(TILE, np.int64)
        moved = np.empty((rows, d), np.float64)
        sums = np.zeros((rows // TILE, TILE, lanes), np.float64)
        start = block * rows
        count = min(rows, n - start)
        for i in range(count):
            for j in range(d):
                moved[i, j] = np.float64(X[start + i, j]) - np.float64(Y[start + i, j])
        for g in range(p):
            for tile in range(0, count, TILE):
                address_tile(address, moved.ctypes.data, moved.strides[0], tile, count)
                add_squares(address, packed[g], 0, d, sums[tile // TILE])
        for i in range(count):
            total = 0.0
            for lane in range(lanes):
                total += sums[i // TILE, i % TILE, lane]
            out[start + i] = total
