"""Assignment on the CPU: BLAS products of cache-sized blocks, and the best centre kept while the block is in cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["assign", "distances_to_few"]

#: Rows and centres of a block: 256 x 512 float32 products are 512 KiB, half of a usual second-level cache.
_ROWS = 512
_CENTERS = 256


def assign(X: NDArray[Any], centers: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Labels and squared distances; the same bits for any number of threads, as blocks never depend on it."""
    n = len(X)
    # The sentinel makes a row that a kernel missed fail in every consumer.
    labels = np.full(n, -1, np.int32)
    distances = np.full(n, np.nan)
    shift = centers.mean(axis=0, dtype=np.float64).astype(X.dtype)
    moved = centers - shift
    squares = np.einsum("ij,ij->i", moved, moved, dtype=np.float64)
    half = (0.5 * squares).astype(X.dtype)
    unit = float(np.finfo(X.dtype).eps) / 2
    reach = float(np.sqrt(squares.max()))
    _assign(X, centers, moved, shift, half, unit, reach, labels, distances, numba.get_num_threads())
    return labels, distances


@numba.njit(cache=True, fastmath={"contract", "reassoc"})
def _squared(x, c):  # type: ignore[no-untyped-def]
    """|x - c|^2 by differences in float64."""
    total = 0.0
    for j in range(len(x)):
        difference = np.float64(x[j]) - np.float64(c[j])
        total += difference * difference
    return total


@numba.njit(parallel=True, cache=True, fastmath={"contract"})
def _assign(X, centers, moved, shift, half, unit, reach, labels, distances, threads):  # type: ignore[no-untyped-def]
    n, d = X.shape
    k = len(centers)
    blocks = (n + _ROWS - 1) // _ROWS
    for thread in numba.prange(threads):
        products = np.empty(_CENTERS * _ROWS, X.dtype)
        rows = np.empty(_ROWS * d, X.dtype)
        best = np.empty(_ROWS, X.dtype)
        second = np.empty(_ROWS, X.dtype)
        lengths = np.empty(_ROWS, np.float64)
        label = np.empty(_ROWS, np.int32)
        for block in range(thread, blocks, threads):
            start = block * _ROWS
            count = min(_ROWS, n - start)
            local = rows[: count * d].reshape(count, d)
            for i in range(count):
                total = 0.0
                for j in range(d):
                    value = X[start + i, j] - shift[j]
                    local[i, j] = value
                    total += np.float64(value) * np.float64(value)
                lengths[i] = np.sqrt(total)
            best[:count] = -np.inf
            second[:count] = -np.inf
            label[:count] = 0
            for first in range(0, k, _CENTERS):
                width = min(_CENTERS, k - first)
                # [centres of the block, rows of the block]: the pass below runs along rows, and so in vectors.
                score = products[: width * count].reshape(width, count)
                np.dot(moved[first : first + width], local.T, score)
                for c in range(width):
                    h = half[first + c]
                    number = np.int32(first + c)
                    for i in range(count):
                        s = score[c, i] - h
                        better = s > best[i]
                        runner_up = best[i] if better else s
                        second[i] = max(second[i], runner_up)
                        best[i] = s if better else best[i]
                        label[i] = number if better else label[i]
            for i in range(count):
                c = int(label[i])
                total = _squared(X[start + i], centers[c])
                # README.md: beyond this margin no rounding can have put the wrong centre first.
                doubt = 2.0 * unit * ((d + 4.0) * lengths[i] * reach + reach * reach)
                if np.float64(best[i]) - np.float64(second[i]) <= doubt:
                    for other in range(k):
                        squared = _squared(X[start + i], centers[other])
                        if squared < total or (squared == total and other < c):
                            c, total = other, squared
                labels[start + i] = c
                distances[start + i] = total


def distances_to_few(X: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.float64]:
    """Squared distances [m, n] by differences in float64."""
    out = np.full((len(rows), len(X)), np.nan)
    _few(X, rows, out)
    return out


@numba.njit(parallel=True, cache=True, fastmath={"contract", "reassoc"})
def _few(X, rows, out):  # type: ignore[no-untyped-def]
    n, d = X.shape
    for i in numba.prange(n):
        for m in range(len(rows)):
            total = 0.0
            for j in range(d):
                difference = np.float64(X[i, j]) - np.float64(rows[m, j])
                total += difference * difference
            out[m, i] = total
