"""Points to a grid and back, with a cubic B-spline window; the bits do not depend on the number of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.tsne._nodes import charge_at, field_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["gather", "limits", "order_of", "spread"]

#: Grid rows of a strip: at least 4, the window's width, so that strips two apart never touch the same row.
_STRIP = 4
#: Points that one task sorts or gathers.
_BLOCK = 2048


def limits(Y: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Least and largest coordinates of ``Y`` ``[n, 2]``; NaN where a coordinate is none."""
    found = np.empty(((len(Y) + _BLOCK - 1) // _BLOCK, 4), np.float32)
    _limits(Y, found)
    return found[:, :2].min(axis=0), found[:, 2:].max(axis=0)


def order_of(
    Y: NDArray[np.float32], low: tuple[np.float32, np.float32], spacing: float, rows: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Points by strip of ``rows`` grid rows, in their own order within it: ``(order [n], first of each strip)``."""
    strips = (rows + _STRIP - 1) // _STRIP
    blocks = (len(Y) + _BLOCK - 1) // _BLOCK
    counts = np.zeros((blocks, strips), np.int64)
    strip = np.empty(len(Y), np.int32)
    inverse = np.float32(1 / spacing)
    _count(Y, low[0], inverse, strip, counts)
    # Where each block's points of each strip begin.
    flat = counts.T.ravel()
    places = (np.cumsum(flat) - flat).reshape(strips, blocks)
    first = np.append(places[:, 0], len(Y))
    order = np.empty(len(Y), np.int32)
    _place(strip, np.ascontiguousarray(places.T), order)
    return order, first


def spread(
    Y: NDArray[np.float32],
    low: tuple[np.float32, np.float32],
    spacing: float,
    own: NDArray[np.float64],
    grid: NDArray[np.float32],
) -> float:
    """Add a unit charge for each point to ``grid`` ``[rows, columns]``.

    ``own`` ``[4, 4]`` is the kernel on the grid at lags 0 to 3 in each direction. Returns the sum over all points of
    what the grid will say that a point does to itself, to be taken off again.
    """
    order, first = order_of(Y, low, spacing, len(grid))
    sums = np.zeros(len(first) - 1)
    twice = np.array([1.0, 2.0, 2.0, 2.0])
    both = own * twice[:, None] * twice
    for parity in range(2):
        _spread(Y, order, first, low[0], low[1], np.float32(1 / spacing), both, parity, grid, sums)
    return float(sums.sum())


def gather(
    Y: NDArray[np.float32],
    low: tuple[np.float32, np.float32],
    spacing: float,
    fields: tuple[NDArray[np.float32], NDArray[np.float32]],
    forces: NDArray[np.float32],
) -> None:
    """Write both ``fields`` ``[rows, columns]`` at the points into ``forces`` ``[n, 2]``."""
    _gather(Y, low[0], low[1], np.float32(1 / spacing), fields[0], fields[1], forces)


@numba.njit(parallel=only_loops(), cache=True)
def _limits(Y: Any, found: Any):  # type: ignore[no-untyped-def]
    for block in numba.prange(len(found)):
        start, end = block * _BLOCK, min(len(Y), (block + 1) * _BLOCK)
        for axis in range(2):
            low, high = Y[start, axis], Y[start, axis]
            for i in range(start, end):
                y = Y[i, axis]
                low, high = min(low, y), max(high, y)
                # Comparisons with NaN are false: it would be passed over.
                if np.isnan(y):
                    low, high = y, y
                    break
            found[block, axis], found[block, 2 + axis] = low, high


@numba.njit(parallel=only_loops(), cache=True)
def _count(Y: Any, low: Any, inverse: Any, strip: Any, counts: Any):  # type: ignore[no-untyped-def]
    for block in numba.prange(len(counts)):
        for i in range(block * _BLOCK, min(len(Y), (block + 1) * _BLOCK)):
            here = np.int32((Y[i, 0] - low) * inverse) // _STRIP
            strip[i] = here
            counts[block, here] += 1


@numba.njit(parallel=only_loops(), cache=True)
def _place(strip: Any, places: Any, order: Any):  # type: ignore[no-untyped-def]
    for block in numba.prange(len(places)):
        for i in range(block * _BLOCK, min(len(strip), (block + 1) * _BLOCK)):
            here = strip[i]
            order[places[block, here]] = i
            places[block, here] += 1


@numba.njit(parallel=only_loops(), cache=True, fastmath={"contract"})
def _spread(Y, order, first, low0, low1, inverse, own, parity, grid, sums):  # type: ignore[no-untyped-def]
    strips = len(sums)
    for half in numba.prange((strips - parity + 1) // 2):
        strip = 2 * np.int64(half) + parity
        total = 0.0
        for place in range(first[strip], first[strip + 1]):
            i = order[place]
            g0, g1 = (Y[i, 0] - low0) * inverse, (Y[i, 1] - low1) * inverse
            r, c = np.int64(g0), np.int64(g1)
            total += charge_at(grid, r, c, g0 - np.float32(r), g1 - np.float32(c), own)
        sums[strip] = total


@numba.njit(parallel=only_loops(), cache=True, fastmath={"contract"})
def _gather(Y, low0, low1, inverse, across, along, forces):  # type: ignore[no-untyped-def]
    n = len(Y)
    for block in numba.prange((n + _BLOCK - 1) // _BLOCK):
        for i in range(block * _BLOCK, min(n, (block + 1) * _BLOCK)):
            g0, g1 = (Y[i, 0] - low0) * inverse, (Y[i, 1] - low1) * inverse
            r, c = np.int64(g0), np.int64(g1)
            x, y = field_at(across, along, r, c, g0 - np.float32(r), g1 - np.float32(c))
            forces[i, 0] = x
            forces[i, 1] = y
