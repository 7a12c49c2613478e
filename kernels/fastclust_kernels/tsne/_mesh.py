"""Points to a grid and back, with a cubic B-spline window; the bits do not depend on the number of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._loops import only_loops

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
    for parity in range(2):
        _spread(Y, order, first, low[0], low[1], np.float32(1 / spacing), own, parity, grid, sums)
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


@numba.njit(inline="always")
def _window(t):  # type: ignore[no-untyped-def]
    """Weights of the four nodes around a point at ``t`` in [0, 1) between the second and the third."""
    sixth = np.float32(1 / 6)
    one, three, four = np.float32(1), np.float32(3), np.float32(4)
    rest = one - t
    return (
        rest * rest * rest * sixth,
        (four + t * t * (three * t - np.float32(6))) * sixth,
        (one + three * t * (one + t * rest)) * sixth,
        t * t * t * sixth,
    )


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
            a0, a1, a2, a3 = _window(g0 - np.float32(r))
            b0, b1, b2, b3 = _window(g1 - np.float32(c))
            for k, a in ((0, a0), (1, a1), (2, a2), (3, a3)):
                row = grid[r + k]
                row[c] += a * b0
                row[c + 1] += a * b1
                row[c + 2] += a * b2
                row[c + 3] += a * b3
            # Windows against themselves, shifted by 0 to 3 nodes.
            p0, p1 = np.float64(a0 * a0 + a1 * a1 + a2 * a2 + a3 * a3), np.float64(a0 * a1 + a1 * a2 + a2 * a3)
            p2, p3 = np.float64(a0 * a2 + a1 * a3), np.float64(a0 * a3)
            q0, q1 = np.float64(b0 * b0 + b1 * b1 + b2 * b2 + b3 * b3), np.float64(b0 * b1 + b1 * b2 + b2 * b3)
            q2, q3 = np.float64(b0 * b2 + b1 * b3), np.float64(b0 * b3)
            for k, p in ((0, p0), (1, 2 * p1), (2, 2 * p2), (3, 2 * p3)):
                total += p * (q0 * own[k, 0] + 2 * (q1 * own[k, 1] + q2 * own[k, 2] + q3 * own[k, 3]))
        sums[strip] = total


@numba.njit(parallel=only_loops(), cache=True, fastmath={"contract", "reassoc"})
def _gather(Y, low0, low1, inverse, across, along, forces):  # type: ignore[no-untyped-def]
    n = len(Y)
    for block in numba.prange((n + _BLOCK - 1) // _BLOCK):
        for i in range(block * _BLOCK, min(n, (block + 1) * _BLOCK)):
            g0, g1 = (Y[i, 0] - low0) * inverse, (Y[i, 1] - low1) * inverse
            r, c = np.int64(g0), np.int64(g1)
            a0, a1, a2, a3 = _window(g0 - np.float32(r))
            b0, b1, b2, b3 = _window(g1 - np.float32(c))
            x, y = np.float32(0), np.float32(0)
            for k, a in ((0, a0), (1, a1), (2, a2), (3, a3)):
                u, v = across[r + k], along[r + k]
                x += a * (b0 * u[c] + b1 * u[c + 1] + b2 * u[c + 2] + b3 * u[c + 3])
                y += a * (b0 * v[c] + b1 * v[c + 1] + b2 * v[c + 2] + b3 * v[c + 3])
            forces[i, 0] = x
            forces[i, 1] = y
