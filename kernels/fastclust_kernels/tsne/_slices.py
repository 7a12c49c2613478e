"""Attraction in the plane: rows of P in slices of 16, which are worked on together, each row in a lane of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.tsne._butterflies import LANES
from fastclust_kernels.tsne._lanes import pull_of_slice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.tsne._pull import Affinities

__all__ = ["Slices", "pull_together", "sliced", "spread_cost_together"]

#: Rows within which those of like length are put in one slice: few, so that they stay near in memory.
_WINDOW = 1024
#: Entries, with those that fill up, over entries.
_MOST_FILLED = 1.25
#: Slices of a task.
_TOGETHER = 16


class Slices(NamedTuple):
    """P in slices of 16 rows: as many entries as the longest of them has, the others filled up with values of 0."""

    #: int32 [slices * 16]: the rows of each slice, n for none.
    rows: NDArray[np.int32]
    #: int64 [slices + 1]: the entries of slice s are starts[s] to starts[s + 1], 16 each.
    starts: NDArray[np.int64]
    #: uint32 and float32 [entries * 16]
    indices: NDArray[np.uint32]
    values: NDArray[np.float32]


def sliced(P: Affinities, order: NDArray[np.int32]) -> Slices:
    """Rows and columns in another order: row i of the result is row ``order[i]``; within a row the order stays."""
    n = len(order)
    lengths = np.diff(P.pointers).astype(np.int64)[order]
    rows, longest = _rows(lengths, _WINDOW)
    if LANES * int(longest.sum()) > _MOST_FILLED * len(P.values):
        # A few rows are much longer than those around them.
        rows, longest = _rows(lengths, n)
    starts = np.zeros(len(longest) + 1, np.int64)
    np.cumsum(longest, out=starts[1:])
    place = np.empty(n, np.uint32)
    place[order] = np.arange(n, dtype=np.uint32)
    indices, values = np.zeros(starts[-1] * LANES, np.uint32), np.zeros(starts[-1] * LANES, np.float32)
    _fill(*P, order, place, rows, starts, indices, values)
    return Slices(rows, starts, indices, values)


def _rows(lengths: NDArray[np.int64], window: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The rows of each slice, the longest of each window first, and how many entries it has: at least 1."""
    n = len(lengths)
    rows = np.full(-(-n // LANES) * LANES, n, np.int32)
    rows[:n] = np.lexsort((-lengths, np.arange(n) // window))
    return rows, np.maximum(np.append(lengths, 0)[rows].reshape(-1, LANES).max(axis=1), 1)


def pull_together(P: Slices, Y: NDArray[np.float32]) -> NDArray[np.float32]:
    """``sum_j p_ij w_ij (y_i - y_j)`` ``[n, 2]``, the sum of each row in the order of its entries."""
    forces = np.empty_like(Y)
    _pull(*P, Y.view(np.uint64).ravel(), Y, forces)
    return forces


def spread_cost_together(P: Slices, Y: NDArray[np.float32]) -> float:
    """``sum p_ij log(1 + |y_i - y_j|^2)``, in float64."""
    sums = np.empty(-(-(len(P.starts) - 1) // _TOGETHER))
    _cost(*P, Y, sums)
    return float(sums.sum())


@numba.njit(parallel=only_loops(), cache=True)
def _fill(pointers, indices, values, order, place, rows, starts, new_indices, new_values):  # type: ignore[no-untyped-def]
    n = len(order)
    for s in numba.prange(len(starts) - 1):
        first = starts[s] * LANES
        for lane in range(LANES):
            row = rows[np.int64(s) * LANES + lane]
            if row < n:
                start, end = np.int64(pointers[order[row]]), np.int64(pointers[order[row] + 1])
                for k in range(end - start):
                    new_indices[first + k * LANES + lane] = place[indices[start + k]]
                    new_values[first + k * LANES + lane] = values[start + k]


@numba.njit(parallel=only_loops(), cache=True)
def _pull(rows, starts, indices, values, points, Y, forces):  # type: ignore[no-untyped-def]
    n, count = len(Y), len(starts) - 1
    for task in numba.prange((count + _TOGETHER - 1) // _TOGETHER):
        own, sums = np.empty((2, LANES), np.float32), np.zeros((2, LANES), np.float32)
        for s in range(np.int64(task) * _TOGETHER, min(count, (np.int64(task) + 1) * _TOGETHER)):  # type: ignore[call-overload]
            for lane in range(LANES):
                row = min(np.int64(rows[s * LANES + lane]), n - 1)
                own[0, lane], own[1, lane] = Y[row, 0], Y[row, 1]
            pull_of_slice(points, indices, values, starts[s], starts[s + 1], own, sums)
            for lane in range(LANES):
                row = np.int64(rows[s * LANES + lane])
                if row < n:
                    forces[row, 0], forces[row, 1] = sums[0, lane], sums[1, lane]


@numba.njit(parallel=only_loops(), cache=True, error_model="numpy")
def _cost(rows, starts, indices, values, Y, sums):  # type: ignore[no-untyped-def]
    count = len(starts) - 1
    for task in numba.prange(len(sums)):
        total = 0.0
        for s in range(np.int64(task) * _TOGETHER, min(count, (np.int64(task) + 1) * _TOGETHER)):  # type: ignore[call-overload]
            for k in range(starts[s], starts[s + 1]):
                for lane in range(LANES):
                    value = values[k * LANES + lane]
                    if value > 0:
                        row, other = rows[s * LANES + lane], indices[k * LANES + lane]
                        x = np.float64(Y[row, 0]) - np.float64(Y[other, 0])
                        y = np.float64(Y[row, 1]) - np.float64(Y[other, 1])
                        total += value * np.log1p(x * x + y * y)
        sums[task] = total
