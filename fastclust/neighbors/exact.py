"""Exact neighbours by our own products and top-k: no package needed, distances from differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.neighbors.certificates import Frame, among_all, values_of
from fastclust.neighbors.merging import SPARE
from fastclust.neighbors.products import Candidates, of_others, of_themselves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["Found", "brute_force", "ranked", "true_distances"]

#: Numbers that are worked on together where scores leave a query open.
_CELLS = 2**25
#: Queries that are ranked together.
_BLOCK = 8192


class Found(NamedTuple):
    """What a search of all rows gives."""

    #: int64 [q, k]: row numbers, nearest first.
    numbers: NDArray[np.int64]
    #: How many queries float32 scores could not settle, and were compared again in float64.
    recomputed: int


def brute_force(rows: NDArray[Any], queries: NDArray[Any], k: int, *, inner: bool, step: str = "neighbors") -> Found:
    """The nearest rows (or, with ``inner``, those of the largest inner products) of each query, ties by number.

    Products of blocks give ``k + 8`` candidates a query, in float32 around the mean of the rows (products.py): half of
    them where ``queries`` is ``rows`` itself. Candidates are ranked again by differences in float64. A query for which
    rounding may have left out a row that is as near as the k-th of them (certificates.py) is compared again, with all
    rows, in float64: the result is that of a float64 brute force.

    ``rows`` ``[n, d]`` and ``queries`` ``[q, d]`` are float32 or float64.
    """
    n, d = rows.shape
    shift = np.zeros(d) if inner else rows.mean(axis=0, dtype=np.float64)
    frame = Frame(shift.astype(rows.dtype), inner)
    base = frame.move(rows)
    longest = base.longest() if inner else 0.0
    keep = min(k + SPARE, n)
    moved = base.rows if queries is rows else frame.move(queries).rows
    if keep == n:
        candidates = Candidates(np.broadcast_to(np.arange(n), (len(queries), n)), np.full(len(queries), np.inf))
    elif queries is rows:
        candidates = of_themselves(base, keep, step)
    else:
        candidates = of_others(base, moved, keep, step)
    out = np.empty((len(queries), k), np.int64)
    reach = np.empty(len(queries))
    unsure = np.empty(len(queries), bool)
    for some, numbers, values in ranked(rows, queries, lambda some: candidates.numbers[some], k, inner=inner):
        out[some], reach[some] = numbers, values[:, -1]
        unsure[some] = ~(candidates.worst[some] > frame.limits(moved[some], reach[some], longest))
    again = np.flatnonzero(unsure & (keep < n))
    if len(again):
        slices = ((0, rows),)
        out[again] = among_all(queries[again], reach[again], longest, slices, frame, k, _CELLS // 4)[1]
    return Found(out, len(again))


def ranked(
    rows: NDArray[Any],
    queries: NDArray[Any],
    candidates: Callable[[slice], NDArray[Any]],
    k: int,
    *,
    inner: bool,
) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.float64]]]:
    """The k nearest of each query's candidates by differences in float64, ties by number, for some queries at a time.

    ``candidates`` gives, for some of the queries, numbers of rows ``[some, m]``, with -1 for none. Yields the queries,
    numbers ``[some, k]`` nearest first, and values as of ``values_of``.
    """
    for start in range(0, len(queries), _BLOCK):
        some = slice(start, min(start + _BLOCK, len(queries)))
        listed = candidates(some).astype(np.int64, copy=False)
        values = values_of(rows, queries[some], listed, inner=inner)
        order = np.lexsort((listed, values), axis=1)[:, :k]
        yield some, np.take_along_axis(listed, order, axis=1), np.take_along_axis(values, order, axis=1)


def true_distances(
    rows: NDArray[Any], queries: NDArray[Any], found: NDArray[np.int64], *, inner: bool
) -> NDArray[np.float64]:
    """Distances ``[q, k]`` to the rows ``found``, by differences; for ``inner`` the inner products, negated."""
    exact = values_of(rows, queries, np.maximum(found, 0), inner=inner)
    return exact if inner else np.sqrt(exact)
