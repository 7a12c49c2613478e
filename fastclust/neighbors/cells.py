"""Our own inverted file: cells of rows around centres, searched cell by cell.

An inverted file looks up, for each query, the lists near to it: a row is read anew for each query. Here the queries of
a cell meet the rows of the cells near to it in products of whole blocks, and one product serves the rows of both cells
where the rows look for each other. How many cells is told by a sample of rows: so many that nearly all of their true
neighbours lie in them. Nothing depends on the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.neighbors.certificates import Frame, Moved
from fastclust.neighbors.engine import Engine
from fastclust.neighbors.exact import ranked
from fastclust.neighbors.merging import SPARE
from fastclust.neighbors.products import BLOCK, Group, of_groups, of_others, of_pairs
from fastclust_kernels.assign import assign
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
        # Cells by how near their centres are to each one's.
        self._near = np.argsort(
            self._frame.scores(self._centers, _as_rows(self._centers, inner)), axis=1, kind="stable"
        )
        self._rank = np.argsort(self._near, axis=1)
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
        probes = self._searched(k, both=False)
        moved = self._frame.move(queries).rows
        cells = self._cells_of(moved)
        order = np.argsort(cells, kind="stable")
        ends = np.searchsorted(cells[order], np.arange(len(self._centers) + 1))
        keep = min(k + SPARE, len(self.rows))
        groups = []
        for cell in np.flatnonzero(np.diff(ends)):
            near = self._near[cell]
            # More cells where those hold too few rows.
            rows = np.diff(self._first)[near].cumsum()
            wanted = max(probes, int((rows < keep).sum()) + 1)
            blocks = [block for one in near[:wanted] for block in self._blocks(one)]
            groups.append(Group(slice(int(ends[cell]), int(ends[cell + 1])), blocks))
        found = of_groups(self._sorted, moved[order], groups, keep, "neighbors").numbers
        return self._ranked(queries, found, order, k)

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
            rank = self._rank[own, others]
            if both:
                rank = np.minimum(rank, self._rank[others, own])
            rank = np.where(true < 0, len(self._centers) - 1, rank)
            self._probes[k, both] = int(np.quantile(rank, _SHARE, method="higher")) + 1
        return self._probes[k, both]


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
