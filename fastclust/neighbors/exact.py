"""Exact neighbours by our own products and top-k: no package needed, distances from differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust import progress
from fastclust.neighbors.certificates import Frame, among_all, values_of
from fastclust.neighbors.merging import SPARE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Found", "brute_force", "true_distances"]

_CELLS = 2**25


class Found(NamedTuple):
    """What a search of all rows gives."""

    #: int64 [q, k]: row numbers, nearest first.
    numbers: NDArray[np.int64]
    #: How many queries float32 scores could not settle, and were compared again in float64.
    recomputed: int


def brute_force(rows: NDArray[Any], queries: NDArray[Any], k: int, *, inner: bool, step: str = "neighbors") -> Found:
    """The nearest rows (or, with ``inner``, those of the largest inner products) of each query, ties by number.

    Products of blocks give ``k + 8`` candidates a query, in float32 around the mean of the rows; these are ranked again
    by differences in float64. A query for which rounding may have left out a row that is as near as the k-th of them
    (certificates.py) is compared again, with all rows, in float64: the result is that of a float64 brute force.

    ``rows`` ``[n, d]`` and ``queries`` ``[q, d]`` are float32 or float64.
    """
    n, d = rows.shape
    shift = np.zeros(d) if inner else rows.mean(axis=0, dtype=np.float64)
    frame = Frame(shift.astype(rows.dtype), inner)
    base = frame.move(rows)
    longest = base.longest() if inner else 0.0
    keep = min(k + SPARE, n)
    out = np.empty((len(queries), k), np.int64)
    block = max(1, min(len(queries), _CELLS // n))
    doubtful: list[NDArray[np.int64]] = []
    reach: list[NDArray[np.float64]] = []
    for start in range(0, len(queries), block):
        part = queries[start : start + block]
        moved = frame.move(part).rows
        score = frame.scores(moved, base)
        if keep < n:
            candidates = np.argpartition(score, keep - 1, axis=1)[:, :keep]
        else:
            candidates = np.broadcast_to(np.arange(n), score.shape)
        exact = values_of(rows, part, candidates, inner=inner)
        order = np.lexsort((candidates, exact), axis=1)[:, :k]
        out[start : start + block] = np.take_along_axis(candidates, order, axis=1)
        if keep < n:
            worst = np.take_along_axis(score, candidates[:, -1:], axis=1)[:, 0]
            last = np.take_along_axis(exact, order[:, -1:], axis=1)[:, 0]
            unsure = np.flatnonzero(~(worst > frame.limits(moved, last, longest)))
            doubtful.append(start + unsure)
            reach.append(last[unsure])
        progress.report(step, start + len(part), len(queries), "brute force")
    again = np.concatenate([np.empty(0, np.int64), *doubtful])
    if len(again):
        slices = ((0, rows),)
        out[again] = among_all(queries[again], np.concatenate(reach), longest, slices, frame, k, _CELLS // 4)[1]
    return Found(out, len(again))


def true_distances(
    rows: NDArray[Any], queries: NDArray[Any], found: NDArray[np.int64], *, inner: bool
) -> NDArray[np.float64]:
    """Distances ``[q, k]`` to the rows ``found``, by differences; for ``inner`` the inner products, negated."""
    exact = values_of(rows, queries, np.maximum(found, 0), inner=inner)
    return exact if inner else np.sqrt(exact)
