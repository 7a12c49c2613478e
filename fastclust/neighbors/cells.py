"""Our own inverted file: cells of rows around centres, searched cell by cell.

An inverted file looks up, for each query, the lists near to it: a row is read anew for each query. Here all queries
that look into a cell meet its rows in one product. Where rows look for each other, all rows of a cell look into the
cells near to its centre, and a product serves the rows of both. A sample of rows tells how many cells: so many that
nearly all true neighbours lie in them. Nothing depends on the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.neighbors.certificates import Frame, Moved
from fastclust.neighbors.engine import Engine
from fastclust.neighbors.exact import ranked
from fastclust.neighbors.merging import SPARE
from fastclust.neighbors.products import BLOCK, Share, best_of, of_others, of_pairs, run
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
#: Rows whose true neighbours tell how many cells are searched, and the share of these that lies in them.
_SAMPLE, _SHARE = 256, 0.99
#: Cells that are searched for a new row at least, as it may lie where no row of the sample does.
_LEAST = 8
#: New rows that are searched for together.
_TOGETHER = 2048


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
        self._centers = _centers(moved.rows, max(1, n // max(_ROWS, int(np.sqrt(n)))))
        self._cells = self._cells_of(moved.rows)
        #: Rows by cell: numbers, rows, and where each cell begins.
        self._numbers = np.argsort(self._cells, kind="stable")
        self._sorted = Moved(moved.rows[self._numbers], moved.half[self._numbers])
        sizes = np.bincount(self._cells, minlength=len(self._centers))
        self._first = np.concatenate([[0], np.cumsum(sizes)])
        self._middles = _as_rows(self._centers, inner)
        # How near each cell's centre is to each one's: 0 for the nearest.
        self._rank = _ranks(self._frame.scores(self._centers, self._middles))
        self._probes: dict[tuple[int, bool], int] = {}

    def graph(self, k: int) -> NDArray[np.int64]:
        """Neighbours of the rows themselves, in which each row may appear as its own: ``[n, k]``."""
        n = len(self.rows)
        probes = self._searched(k, both=True)
        near = (self._rank < probes) | np.eye(len(self._rank), dtype=bool)
        one, other = np.nonzero(np.triu(near | near.T))
        blocks = [self._blocks(cell) for cell in range(len(self._centers))]
        ends = np.cumsum([len(part) for part in blocks])
        places = [range(end - len(part), end) for part, end in zip(blocks, ends, strict=True)]
        pairs = [
            (first, second)
            for a, b in zip(one.tolist(), other.tolist(), strict=True)
            for first in places[a]
            for second in places[b]
            if first <= second
        ]
        keep = min(k + SPARE, n)
        found = of_pairs(self._sorted, [block for part in blocks for block in part], pairs, keep, "neighbors").numbers
        return self._ranked(self.rows, found, self._numbers, k)

    def search(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Row numbers ``[q, k]``, -1 where fewer were found."""
        moved = self._frame.move(queries).rows
        keep = min(k + SPARE, len(self.rows))
        probes = max(self._searched(k, both=False), min(_LEAST, len(self._centers)))
        best = Largest(len(queries), keep)
        size = min(_TOGETHER, max(1, -(-len(queries) // (4 * threads_given()))))
        parts = [slice(start, min(start + size, len(queries))) for start in range(0, len(queries), size)]
        run(lambda part: self._look(moved, part, probes, best), parts, Share("neighbors", 0, 1, 1))
        return self._ranked(queries, best_of(best).numbers, np.arange(len(queries)), k)

    def _look(self, moved: NDArray[np.float32], part: slice, probes: int, best: Largest) -> None:
        """Look for some queries into the cells nearest to each, cell by cell."""
        scores = self._frame.scores(moved[part], self._middles)
        near = np.argpartition(scores, probes - 1, axis=1)[:, :probes]
        sizes = np.diff(self._first)
        askers, cells = np.repeat(np.arange(len(near)), probes), near.ravel()
        # All cells where those hold too few rows.
        few = np.flatnonzero(sizes[near].sum(axis=1) < best.keep)
        if len(few):
            rest = ~np.isin(askers, few)
            askers = np.concatenate([askers[rest], np.repeat(few, len(sizes))])
            cells = np.concatenate([cells[rest], np.tile(np.arange(len(sizes)), len(few))])
        order = np.lexsort((askers, cells))
        ends = np.searchsorted(cells[order], np.arange(len(sizes) + 1))
        for cell in np.flatnonzero(np.diff(ends)).tolist():
            some = part.start + askers[order[ends[cell] : ends[cell + 1]]]
            asking = moved[some]
            for block in self._blocks(cell):
                with np.errstate(over="ignore", invalid="ignore"):
                    best.take(some, asking @ self._sorted.rows[block].T, self._sorted.half[block], block.start)

    def _ranked(
        self, queries: NDArray[np.float32], found: NDArray[Any], order: NDArray[np.int64], k: int
    ) -> NDArray[np.int64]:
        """The k nearest of the places ``found``, whose lines are the queries in this order."""
        lines = np.empty_like(order)
        lines[order] = np.arange(len(order))
        out = np.empty((len(queries), k), np.int64)
        for some, numbers, _ in ranked(
            self.rows, queries, lambda some: self._named(found[lines[some]]), k, inner=self.inner
        ):
            out[some] = numbers
        return out

    def _cells_of(self, moved: NDArray[np.float32]) -> NDArray[np.int32]:
        cells: NDArray[np.int32] = assign(moved, self._centers, check_finite=False).labels
        return cells

    def _blocks(self, cell: int) -> list[slice]:
        """The rows of a cell, a block at a time."""
        start, stop = int(self._first[cell]), int(self._first[cell + 1])
        return [slice(at, min(at + BLOCK, stop)) for at in range(start, stop, BLOCK)]

    def _named(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of rows from places among the sorted ones."""
        return np.where(places < 0, -1, self._numbers[places])

    def _searched(self, k: int, *, both: bool) -> int:
        """How many cells are searched from each; with ``both``, rows are found too by those that they would find."""
        if (k, both) not in self._probes:
            n = len(self.rows)
            sample = np.sort(np.random.default_rng(_SEED).choice(n, min(n, _SAMPLE), replace=False))
            queries = self._frame.move(self.rows[sample]).rows
            true = self._named(of_others(self._sorted, queries, min(k, n), "neighbors").numbers)
            own, others = self._cells[sample][:, None], self._cells[true]
            if both:
                rank = np.minimum(self._rank[own, others], self._rank[others, own])
            else:
                rank = np.take_along_axis(_ranks(self._frame.scores(queries, self._middles)), others, axis=1)
            rank = np.where(true < 0, len(self._centers) - 1, rank)
            self._probes[k, both] = int(np.quantile(rank, _SHARE, method="higher")) + 1
        return self._probes[k, both]


def _ranks(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Of each number in its line, how many come before it."""
    ranks: NDArray[np.int64] = np.argsort(np.argsort(scores, axis=1, kind="stable"), axis=1)
    return ranks


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
