"""A start for many clusters: greedy k-means++ inside each of a few cells, which costs little more than the cells."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.cluster.chances import Chances
from fastclust.cluster.greedy import Choice, trials_of
from fastclust.cluster.lloyd import lloyd

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust.cluster.rows import DenseRows

__all__ = ["choose_in_cells", "labels_in_cells", "shares_of"]

#: Iterations that find the cells.
_ITERATIONS = 5
#: Part of k that is shared out beforehand, and how much more a cell is given at a time.
_SHARED, _STEP = 0.7, 0.2


def labels_in_cells(
    rows: DenseRows, start: NDArray[Any], weights: NDArray[np.float64] | None, *, cosine: bool
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Centres and labels of cells: clusters after a few iterations from ``start``."""
    fit = lloyd(rows, start, weights=weights, max_iter=_ITERATIONS, tol=0.0, cosine=cosine, backend="auto")
    return fit.centers, fit.labels


def choose_in_cells(
    rows: DenseRows,
    k: int,
    weights: NDArray[np.float64] | None,
    random: RandomState,
    cells: int | None = None,
    *,
    cosine: bool = False,
) -> NDArray[Any]:
    """Choose k rows ``[k, d]`` by greedy k-means++ inside ``cells`` (about the root of k) into which rows are put.

    Over all rows it would take ``cells`` times as long. Most of k is shared out by what the cells look like, the rest
    goes bit by bit to the cell whose last rows brought down its potential most.
    """
    wanted = min(max(1, round(k**0.5)) if cells is None else cells, k)
    possible = rows.shape[0] if weights is None else int(np.count_nonzero(weights))
    start = rows.take(Chances(rows.shape[0], weights, None).draw(min(wanted, possible), random))
    with progress.as_part("seed", "kmeans", 0.0, 0.1):
        centers, labels = labels_in_cells(rows, start, weights, cosine=cosine)
    cells = len(centers)
    sizes = np.bincount(labels, minlength=cells)
    spread = np.bincount(labels, rows.own(centers, labels), minlength=cells)
    shares = shares_of(spread, sizes, k, rows.shape[1])
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
    choices = []
    # The cell whose rows gain most comes first, the lowest of those alike.
    queue: list[tuple[float, int]] = []
    for cell, mine in enumerate(members):
        own = np.ones(len(mine)) if weights is None else weights[mine]
        choice = Choice(own, random, trials_of(max(1, int(shares[cell]))))
        choices.append(choice)
        share = int(shares[cell])
        if own.any() and share:
            part = np.ascontiguousarray(rows.matrix[mine])
            choice.extend(part, max(1, round(_SHARED * (1 - _STEP) * share)))
            if len(choice.rows) < share:
                _grow(choice, part, max(1, round(_SHARED * _STEP * share)), cell, queue)
            elif not choice.exhausted:
                # One row tells nothing about the next: as much as all of it, at most.
                heapq.heappush(queue, (-choice.potential(), cell))
        progress.report("seed", 0.1 + 0.4 * (cell + 1) / cells, 1.0, f"cell {cell + 1} of {cells}")
    left = k - sum(len(choice.rows) for choice in choices)
    while left > 0 and queue:
        _, cell = heapq.heappop(queue)
        choice = choices[cell]
        many = min(left, max(1, round(_STEP * len(choice.rows))))
        left -= _grow(choice, np.ascontiguousarray(rows.matrix[members[cell]]), many, cell, queue)
        progress.report("seed", 0.5 + 0.5 * (k - left) / k, 1.0, f"{k - left} of {k} rows")
    chosen = np.concatenate([mine[choice.rows] for mine, choice in zip(members, choices, strict=True)])
    if len(chosen) < k:
        # Fewer distinct rows than clusters: any others.
        others = np.setdiff1d(np.arange(rows.shape[0]), chosen)
        chosen = np.concatenate([chosen, others[: k - len(chosen)]])
    return rows.take(chosen).copy()


def _grow(choice: Choice, part: NDArray[Any], many: int, cell: int, queue: list[tuple[float, int]]) -> int:
    """Choose more rows of a cell, queue it by what each of them gained, and return how many were found."""
    before, had = choice.potential(), len(choice.rows)
    choice.extend(part, many)
    found = len(choice.rows) - had
    if found and not choice.exhausted:
        heapq.heappush(queue, ((choice.potential() - before) / found, cell))
    return found


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
