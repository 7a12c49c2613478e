"""Our own inverted file: cells of rows around centres, searched cell by cell.

An inverted file looks up, for each query, the lists near to it: a row is read anew for each query. Here the queries
that look into a cell meet its rows in one product. A sample of rows tells how many cells each query looks into: so many
that nearly all true neighbours lie in them. Nothing depends on the number of threads.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.neighbors.certificates import Frame, Moved
from fastclust.neighbors.engine import Engine
from fastclust.neighbors.exact import ranked
from fastclust.neighbors.merging import SPARE
from fastclust.neighbors.products import BLOCK, Share, of_others, products_of, run
from fastclust_kernels.assign import assign
from fastclust_kernels.dispatch import threads_given
from fastclust_kernels.select import Largest
from fastclust_kernels.update import update

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cells"]

_SEED = 0
#: Rows of a cell, on average, at least; the square root of their number where that is more.
_ROWS = 128
#: Rows a cell, and iterations, of the k-means that places the centres.
_TRAINING, _ITERATIONS = 32, 6
#: Rows whose true neighbours tell how many cells are looked into, and the fewest cells: a new row may lie where no row
#: of the sample does.
_SAMPLE, _LEAST = 256, 8
#: The share of these neighbours that lies there, and that beyond so many rows: the last hundredth takes as long as all
#: else.
_SHARE, _MANY, _SHARE_OF_MANY = 0.995, 200_000, 0.98
#: Queries that are kept track of together, and of them those that look into a cell together.
_GROUP, _TOGETHER = 1 << 16, 1 << 14
#: Queries whose products are made before they are looked at: they stay in the caches.
_LINES = 256


class Cells(Engine):
    """Rows around centres, sorted by cell; see the module.

    Neighbours come from float32 scores and are ranked by differences in float64, ties by number.
    """

    def __init__(self, rows: NDArray[np.float32], *, inner: bool, k: int) -> None:
        super().__init__(rows, inner=inner, k=k)
        n, d = rows.shape
        shift = np.zeros(d) if inner else rows.mean(axis=0, dtype=np.float64)
        self._frame = Frame(shift.astype(rows.dtype), inner)
        moved = self._frame.move(rows)
        progress.report("neighbors", 0, 1, "placing cells")
        centers = _centers(moved.rows, max(1, n // max(_ROWS, int(np.sqrt(n)))))
        cells = assign(moved.rows, centers, check_finite=False).labels
        self._centers = _as_rows(centers, inner)
        #: Rows by cell: numbers, rows, sizes of cells, and where each begins.
        self._numbers = np.argsort(cells, kind="stable")
        self._sorted = Moved(moved.rows[self._numbers], moved.half[self._numbers])
        self._sizes = np.bincount(cells, minlength=len(centers))
        self._first = np.concatenate([[0], np.cumsum(self._sizes)])
        #: Cells to look into, by number of neighbours.
        self._probes: dict[int, int] = {}

    def search(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Row numbers ``[q, k]``, nearest first; -1 only where there are fewer rows."""
        probes, keep = self._cells_for(k), min(k + SPARE, len(self.rows))
        out = np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries), _GROUP):
            group = queries[start : start + _GROUP]
            found = self._candidates(group, keep, probes, Share("neighbors", start, len(group), len(queries)))
            listed = functools.partial(self._named, found)
            for some, numbers, _ in ranked(self.rows, group, listed, k, inner=self.inner):
                out[start : start + len(group)][some] = numbers
        return out

    def _candidates(self, queries: NDArray[np.float32], keep: int, probes: int, share: Share) -> NDArray[np.int32]:
        """Places ``[q, keep]`` among the sorted rows, in no order, -1 for none."""
        best = Largest(len(queries), keep)
        near = np.empty((len(queries), probes), np.int32)
        size = min(_TOGETHER, max(1, -(-len(queries) // (4 * threads_given()))))
        parts = [slice(start, min(start + size, len(queries))) for start in range(0, len(queries), size)]

        def aim(part: slice) -> None:
            scores = self._frame.scores(self._frame.move(queries[part]).rows, self._centers)
            # The nearest comes first, the others in no order.
            near[part] = np.argpartition(scores, sorted({0, probes - 1}), axis=1)[:, :probes]

        run(aim, parts, share._replace(now=0))
        # Queries of one cell look into much the same cells: they meet the rows there together.
        order = np.argsort(near[:, 0], kind="stable")
        run(lambda part: self._look(queries[order[part]], near[order[part]], order[part], best), parts, share)
        return best.found()[1]

    def _look(
        self, queries: NDArray[np.float32], near: NDArray[np.int32], places: NDArray[np.int64], best: Largest
    ) -> None:
        """Look for queries, ``places`` in ``best``, into the cells ``near`` to each, cell by cell.

        All look into their nearest cell before any other: from then on few rows are near enough to be kept.
        """
        moved, probes = self._frame.move(queries).rows, near.shape[1]
        askers, cells = np.repeat(np.arange(len(near)), probes), near.ravel()
        later = np.tile(np.arange(probes) > 0, len(near))
        few = np.flatnonzero(self._sizes[near].sum(axis=1) < best.keep)
        if len(few):
            # All cells where those hold too few rows.
            rest = ~np.isin(askers, few)
            askers = np.concatenate([askers[rest], np.repeat(few, len(self._sizes))])
            cells = np.concatenate([cells[rest], np.tile(np.arange(len(self._sizes)), len(few))])
            later = np.concatenate([later[rest], np.ones(len(few) * len(self._sizes), bool)])
        turns = cells + later * len(self._sizes)
        order = np.lexsort((askers, turns))
        ends = np.searchsorted(turns[order], np.arange(2 * len(self._sizes) + 1))
        for turn in np.flatnonzero(np.diff(ends)).tolist():
            cell = turn % len(self._sizes)
            some = askers[order[ends[turn] : ends[turn + 1]]]
            asking, asked = moved[some], places[some]
            for start in range(self._first[cell], self._first[cell + 1], BLOCK):
                block = slice(start, min(start + BLOCK, self._first[cell + 1]))
                for lines, products in products_of(asking, slice(0, len(asking)), self._sorted.rows[block], _LINES):
                    best.take_of(asked[lines], products, self._sorted.half[block], start)

    def _named(self, places: NDArray[Any], some: slice) -> NDArray[np.int64]:
        """Numbers of rows from some of the places among the sorted ones."""
        return np.where(places[some] < 0, -1, self._numbers[places[some]])

    def _cells_for(self, k: int) -> int:
        """How many cells a query looks into for its k nearest rows."""
        if k not in self._probes:
            n = len(self.rows)
            sample = np.sort(np.random.default_rng(_SEED).choice(n, min(n, _SAMPLE), replace=False))
            queries = self._frame.move(self.rows[sample]).rows
            true = of_others(self._sorted, queries, min(k + 1, n), "neighbors").numbers
            places = np.empty(n, np.int64)
            places[self._numbers] = np.arange(n)
            # The row itself is one of them, and always found.
            others = (true >= 0) & (true != places[sample, None])
            order = np.argsort(self._frame.scores(queries, self._centers), axis=1, kind="stable")
            cells = np.searchsorted(self._first, true, side="right") - 1
            ranks = np.take_along_axis(np.argsort(order, axis=1), np.maximum(cells, 0), axis=1)[others]
            share = _SHARE if n <= _MANY else _SHARE_OF_MANY
            wanted = int(np.quantile(ranks, share, method="higher")) + 1 if len(ranks) else len(self._sizes)
            self._probes[k] = min(max(wanted, _LEAST), len(self._sizes))
        return self._probes[k]


def _as_rows(centers: NDArray[np.float32], inner: bool) -> Moved:
    with np.errstate(over="ignore"):
        half = np.zeros(len(centers)) if inner else 0.5 * np.einsum("ij,ij->i", centers, centers, dtype=np.float64)
    return Moved(centers, half.astype(np.float32))


def _centers(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Centres ``[count, d]`` of a few iterations of k-means on a sample; one without rows stays where it is."""
    rng = np.random.default_rng(_SEED)
    sample = rows[np.sort(rng.choice(len(rows), min(len(rows), _TRAINING * count), replace=False))]
    centers = sample[rng.choice(len(sample), count, replace=False)]
    for _ in range(_ITERATIONS):
        labels = assign(sample, centers, check_finite=False).labels
        found = update(sample, labels, count)
        there = found.weights > 0
        centers[there] = found.sums[there] / found.weights[there, None]
    return centers
