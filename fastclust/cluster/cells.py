"""A start for many clusters: greedy k-means++ inside each of a few cells, which costs little more than the cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.cluster.chances import Chances
from fastclust.cluster.greedy import greedy_rows
from fastclust.cluster.lloyd import lloyd

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust.cluster.rows import DenseRows

__all__ = ["cells_of", "shares_of", "start_in_cells"]

#: Iterations that find the cells.
_ITERATIONS = 5


def cells_of(
    rows: DenseRows, start: NDArray[Any], weights: NDArray[np.float64] | None, *, cosine: bool
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Centres and labels of cells: clusters after a few iterations from ``start``."""
    fit = lloyd(rows, start, weights=weights, max_iter=_ITERATIONS, tol=0.0, cosine=cosine, backend="auto")
    return fit.centers, fit.labels


def start_in_cells(
    rows: DenseRows,
    k: int,
    weights: NDArray[np.float64] | None,
    random: RandomState,
    cells: int | None = None,
    *,
    cosine: bool = False,
) -> NDArray[Any]:
    """K rows ``[k, d]``: the rows are put into ``cells`` (about the root of k), each of which has its share of k.

    Inside each cell the rows are those of greedy k-means++, which would take ``cells`` times as long over all rows.
    """
    wanted = min(max(1, round(k**0.5)) if cells is None else cells, k)
    possible = rows.shape[0] if weights is None else int(np.count_nonzero(weights))
    start = rows.take(Chances(rows.shape[0], weights, None).draw(min(wanted, possible), random))
    centers, labels = cells_of(rows, start, weights, cosine=cosine)
    cells = len(centers)
    sizes = np.bincount(labels, minlength=cells)
    spread = np.bincount(labels, rows.own(centers, labels), minlength=cells)
    shares = shares_of(spread, sizes, k, rows.shape[1])
    first = np.concatenate([[0], np.cumsum(shares)])
    order = np.argsort(labels, kind="stable")
    ends = np.concatenate([[0], np.cumsum(sizes)])
    taken = np.empty(k, np.int64)
    for cell in np.flatnonzero(shares):
        mine = order[ends[cell] : ends[cell + 1]]
        own = np.ones(len(mine)) if weights is None else weights[mine]
        if np.count_nonzero(own) < shares[cell]:
            own = np.maximum(own, own.max() * 1e-12 or 1.0)
        part, many = np.ascontiguousarray(rows.matrix[mine]), int(shares[cell])
        taken[first[cell] : first[cell + 1]] = mine[greedy_rows(part, many, own, random)]
        progress.report("seed", int(cell) + 1, cells, f"cell {cell + 1} of {cells}")
    return rows.take(taken).copy()


def shares_of(spread: NDArray[Any], sizes: NDArray[Any], k: int, d: int) -> NDArray[np.int64]:
    """Clusters of each cell: as many as make the inertia of all the least, at most its rows, none for an empty one.

    m clusters in d dimensions leave an inertia proportional to ``spread * m ** (-2 / d)`` (Zador, 1982), so m is
    proportional to ``spread ** (d / (d + 2))``.
    """
    wanted = np.maximum(spread, 0.0) ** (d / (d + 2.0))
    wanted = wanted if wanted.any() else sizes.astype(np.float64)
    shares = np.minimum(np.maximum(np.floor(wanted / wanted.sum() * k), 1), sizes).astype(np.int64)
    # What rounding and bounds left over or took too much goes to or comes from the cells with the most rows a cluster.
    while shares.sum() != k:
        step = 1 if shares.sum() < k else -1
        room = (shares < sizes) if step > 0 else (shares > 1)
        fullness = np.where(room, sizes / np.maximum(shares, 1) * step, -np.inf)
        many = min(abs(int(k - shares.sum())), int(room.sum()))
        shares[np.argsort(-fullness, kind="stable")[:many]] += step
    whole: NDArray[np.int64] = shares
    return whole
