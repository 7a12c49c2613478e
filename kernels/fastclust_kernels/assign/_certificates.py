"""Which labels found among a few cells of centres are certainly those of the nearest centre."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.assign._candidates import nearest_cells, rows_together
from fastclust_kernels.assign._dense import doubt_of, length_of, move
from fastclust_kernels.assign._vectors import PANEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.assign._candidates import Cells

__all__ = ["apart", "settled"]


def apart(
    X: NDArray[Any], cells: Cells, radius: NDArray[np.float64], probes: int, distances: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which rows are nearer to their centre, at ``distances`` ``[n]``, than any centre of a cell not looked at can be.

    No centre of a cell is nearer than the distance to its mean less its ``radius``. Scores may be off by their bound
    (README.md), and row and mean by half a unit of their lengths each from having been moved to the origin of scores.
    """
    bounds = np.zeros(len(cells.mean_panels) * PANEL)
    bounds[: len(radius)] = radius
    sure = np.zeros(len(X), np.bool_)
    panels, halves, reach, unit = cells.mean_panels, cells.mean_halves, _reach(cells.means, cells), _unit(X)
    rows, threads = rows_together(X), numba.get_num_threads()
    _apart(X, panels, halves, cells.shift, bounds, probes, reach, unit, rows, distances, sure, threads)
    return sure


def settled(
    X: NDArray[Any], centers: NDArray[Any], cells: Cells, hidden: NDArray[Any], distances: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which rows are nearer to their centre than any centre that was looked at and is no candidate can be.

    ``hidden`` ``[n]`` is the best score of those: no rounding can have put it behind.
    """
    sure = np.zeros(len(X), np.bool_)
    _settled(X, cells.shift, _reach(centers, cells), _unit(X), hidden, distances, sure)
    return sure


def _reach(points: NDArray[Any], cells: Cells) -> float:
    moved = (points - cells.shift).astype(np.float64)
    return float(np.sqrt((moved**2).sum(axis=1).max()))


def _unit(X: NDArray[Any]) -> float:
    return float(np.finfo(X.dtype).eps) / 2


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _settled(X, shift, reach, unit, hidden, distances, sure):  # type: ignore[no-untyped-def]
    n, d = X.shape
    tiny, largest = np.float64(np.finfo(X.dtype).tiny), np.finfo(X.dtype).max / 8
    for i in numba.prange(n):
        local = np.empty(d, X.dtype)
        move(X[i], shift, local)
        squares = length_of(local)
        away = distances[i] + unit * (np.sqrt(squares) + reach)
        least = squares - 2.0 * np.float64(hidden[i]) - 2.0 * doubt_of(squares, reach, d, unit, tiny)
        sure[i] = squares + reach * reach <= largest and least > away * away


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _apart(  # type: ignore[no-untyped-def]
    X, panels, halves, shift, radius, probes, reach, unit, rows, distances, sure, threads
):
    n, d = X.shape
    blocks = (n + rows - 1) // rows
    tiny, largest = np.float64(np.finfo(X.dtype).tiny), np.finfo(X.dtype).max / 8
    for thread in numba.prange(threads):
        local = np.empty((rows, d), X.dtype)
        near = np.empty((rows, probes + 1), np.int32)
        scores = np.empty((rows, len(panels) * PANEL), X.dtype)
        for block in range(thread, blocks, threads):
            start = block * rows
            count = min(rows, n - start)
            for i in range(count):
                move(X[start + i], shift, local[i])
            nearest_cells(local, count, panels, halves, near, scores)
            for i in range(count):
                squares = length_of(local[i])
                off = 2.0 * doubt_of(squares, reach, d, unit, tiny)
                away = distances[start + i] + unit * (np.sqrt(squares) + reach)
                for cell in near[i, :-1]:
                    scores[i, cell] = -np.inf
                # |x - m| - r > a, without the root: a + r is never negative. Where scores overflow nothing is known.
                known = squares + reach * reach <= largest
                for cell in range(len(radius)):
                    beyond = away + radius[cell]
                    known &= squares - 2.0 * np.float64(scores[i, cell]) - off > beyond * beyond
                sure[start + i] = known
