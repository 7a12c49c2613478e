"""An index of rows that stay in files: lists around centres of a sample, each list a stretch of a file of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.data.limits import block_rows, floating, memory_of
from fastclust.data.scratch import scratch
from fastclust.neighbors.certificates import Frame, among_all, values_of
from fastclust.neighbors.merging import SPARE
from fastclust.neighbors.packages import faiss
from fastclust.neighbors.products import Candidates, Search, Share, candidates_of, run
from fastclust_kernels.assign import assign
from fastclust_kernels.select import Largest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust.data import RowSource
    from fastclust.neighbors.metrics import Metric

__all__ = ["Lists", "Passing", "StreamedEngine"]

_SEED = 0
_ITERATIONS, _ROWS_A_LIST = 10, 64
_PROBES = 32
#: Queries that a thread takes; not a share of them, as products of other shapes may round otherwise.
_ASKING = 4096


class StreamedEngine(ABC):
    """What both ways have in common: blocks of the source in the metric's space, and distances by differences."""

    exact = False

    def __init__(self, source: RowSource, kind: Metric) -> None:
        self._source, self._kind = source, kind
        self.shape = source.shape
        self._memory = memory_of(source)
        first = self.rows(np.zeros(1, np.int64))
        self._width, self._row_bytes = int(first.shape[1]), first.itemsize * int(first.shape[1])
        wide = floating(source.dtype).itemsize * source.shape[1]
        self._block = block_rows(self._memory, max(self._row_bytes, wide))
        sample = np.linspace(0, len(source) - 1, min(len(source), 1000)).astype(np.int64)
        middle = self.rows(sample).mean(axis=0, dtype=np.float64)
        self._frame = Frame((np.zeros_like(middle) if kind.inner else middle).astype(first.dtype), kind.inner)
        #: Queries so far that float32 scores could not settle.
        self.recomputed = 0

    def together(self, k: int) -> int:
        """Queries whose ``k`` nearest are searched together."""
        # What Largest keeps: 12 bytes for each of 2 (k + SPARE) + 32 places.
        return max(1, min(self._memory // (8 * (4 * self._width + 24 * (k + SPARE) + 512)), 1 << 14))

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Blocks in the metric's space, each with the number of its first row."""
        start = 0
        for rows in self._source.blocks(self._block, change=self._enter):
            yield start, rows
            start += len(rows)

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Some rows, in the metric's space."""
        return self._enter(self._source.take(numbers))

    def _enter(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows in the metric's space, where there is a copy of them in float32."""
        return self._kind.enter(rows)

    def search(self, queries: NDArray[Any], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distances among mapped rows and numbers ``[q, k]``, nearest first; ties go to the lowest number."""
        found = self.candidates(queries, min(k + SPARE, self.shape[0]))
        exact = np.full(found.numbers.shape, np.inf)
        step = max(1, self._memory // (16 * found.numbers.shape[1] * self._row_bytes))
        for start in range(0, len(queries), step):
            some = slice(start, start + step)
            named = found.numbers[some]
            different, back = np.unique(np.maximum(named, 0), return_inverse=True)
            listed = np.where(named < 0, -1, back.reshape(named.shape))
            exact[some] = values_of(self.rows(different), queries[some], listed, inner=self._kind.inner)
        order = np.lexsort((found.numbers, exact), axis=1)[:, :k]
        best = np.take_along_axis(exact, order, 1)
        numbers = np.take_along_axis(found.numbers, order, 1).astype(np.int64, copy=False)
        self._settle(queries, found, best, numbers)
        return best if self._kind.inner else np.sqrt(best), numbers

    @abstractmethod
    def _settle(
        self, queries: NDArray[Any], found: Candidates, best: NDArray[np.float64], numbers: NDArray[np.int64]
    ) -> None:
        """Put right, in place, what scores may have got wrong."""

    @abstractmethod
    def candidates(self, queries: NDArray[Any], keep: int) -> Candidates:
        """The nearest by float32 scores."""


class Passing(StreamedEngine):
    """All rows, read once for as many queries as are searched together, and once more where scores left some open."""

    exact = True

    def _enter(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows in the metric's space, with all the digits that they have."""
        return self._kind.enter(rows, wide=True)

    def candidates(self, queries: NDArray[Any], keep: int) -> Candidates:
        """The nearest by float32 scores."""
        moved, self._longest = self._frame.move(queries).rows, 0.0
        search = Search(moved, keep, self._memory // 16)
        for start, block in self.blocks():
            rows = self._frame.move(block)
            if self._kind.inner:
                self._longest = max(self._longest, rows.longest())
            search.look(rows, start, Share("neighbors", start, len(block), self.shape[0]))
        return search.found()

    def _settle(
        self, queries: NDArray[Any], found: Candidates, best: NDArray[np.float64], numbers: NDArray[np.int64]
    ) -> None:
        """Compare again, in float64, queries for which rounding may have left out one of the nearest rows."""
        limits = self._frame.limits(self._frame.move(queries).rows, best[:, -1], self._longest)
        whole = found.numbers.shape[1] == self.shape[0] and bool((found.numbers[:, -1] >= 0).all())
        again = np.empty(0, np.int64) if whole else np.flatnonzero(~(found.worst > limits))
        if len(again):
            best[again], numbers[again] = among_all(
                queries[again],
                best[again, -1],
                self._longest,
                self.blocks(),
                self._frame,
                best.shape[1],
                self._memory // 128,
            )
            self.recomputed += len(again)


class Lists(StreamedEngine):
    """Lists around centres that FAISS's k-means finds on a sample; rows are copied to a file, list by list.

    Needs the disk for one float32 copy of the rows; it goes with the index.
    """

    def __init__(self, source: RowSource, kind: Metric, folder: Path | None = None) -> None:
        super().__init__(source, kind)
        n, width = self.shape[0], self._width
        room = self._memory // 8 // (4 * width)
        self.n_lists = max(1, min(int(4 * np.sqrt(n)), n // 39, room // 39))
        self.probes = min(self.n_lists, max(8, min(_PROBES, self.n_lists // 8)))
        self._centers = self._trained(min(n, room, _ROWS_A_LIST * self.n_lists))
        self._moved_centers = self._frame.move(self._centers)
        labels = scratch((n,), np.int32, folder, self._memory // 64)
        for start, rows in self.blocks():
            labels[start : start + len(rows)] = assign(rows, self._centers)[0]
            progress.report("neighbors", 0.4 * (start + len(rows)) / n, 1.0, "lists of all rows")
        self._first = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=self.n_lists))])
        self._rows = scratch((n, width), np.float32, folder, self._memory // 64)
        self._numbers = scratch((n,), np.int64, folder, self._memory // 64)
        place = self._first[:-1].copy()
        for start, rows in self.blocks():
            mine = labels[start : start + len(rows)]
            order = np.argsort(mine, kind="stable")
            counts = np.bincount(mine, minlength=self.n_lists)
            before = np.concatenate([[0], np.cumsum(counts)[:-1]])
            target = np.arange(len(rows)) - np.repeat(before - place, counts)
            self._rows[target], self._numbers[target] = rows[order], order + start
            place += counts
            progress.report("neighbors", 0.4 + 0.6 * (start + len(rows)) / n, 1.0, "filling the lists")

    def _trained(self, size: int) -> NDArray[np.float32]:
        numbers = np.sort(np.random.default_rng(_SEED).choice(self.shape[0], size, replace=False))
        clustering = faiss().Kmeans(
            self._width, self.n_lists, niter=_ITERATIONS, seed=_SEED, max_points_per_centroid=_ROWS_A_LIST
        )
        clustering.train(self.rows(numbers))
        centers: NDArray[np.float32] = np.ascontiguousarray(clustering.centroids)
        return centers

    def _settle(
        self, queries: NDArray[Any], found: Candidates, best: NDArray[np.float64], numbers: NDArray[np.int64]
    ) -> None:
        """Nothing: what lies in lists that are not searched is not found either."""

    def candidates(self, queries: NDArray[np.float32], keep: int) -> Candidates:
        """The nearest by float32 scores in the lists nearest to each query; more lists where those hold too few."""
        moved = self._frame.move(queries).rows
        best = Largest(len(queries), keep)
        starts = range(0, len(queries), _ASKING)
        groups = [np.arange(start, min(start + _ASKING, len(queries))) for start in starts]
        run(lambda mine: self._visit(mine, moved, best), groups, Share("neighbors", 0, 1, 1, "lists near each row"))
        found = candidates_of(best)
        # Places in the file until here.
        numbers = np.where(found.numbers < 0, -1, np.asarray(self._numbers[np.maximum(found.numbers, 0)]))
        return Candidates(numbers, found.worst)

    def _visit(self, mine: NDArray[np.int64], moved: NDArray[np.float32], best: Largest) -> None:
        """Show the queries ``mine`` the lists near them, list by list."""
        step = max(1, self._memory // 64 // (32 * self.n_lists))
        pairs = [self._wanted(mine[at : at + step], moved, best.keep) for at in range(0, len(mine), step)]
        askers, visited = (np.concatenate(part) for part in zip(*pairs, strict=True))
        askers = askers[np.argsort(visited, kind="stable")]
        ends = np.cumsum(np.bincount(visited, minlength=self.n_lists))
        for number in np.flatnonzero(np.diff(ends, prepend=0)):
            self._look(int(number), askers[ends[number - 1] if number else 0 : ends[number]], moved, best)

    def _wanted(
        self, some: NDArray[np.int64], moved: NDArray[np.float32], keep: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of a query and a list that it looks into: the nearest lists, so many that they hold ``keep`` rows."""
        sizes = np.diff(self._first)
        scores = self._frame.scores(moved[some], self._moved_centers)
        lists = np.argpartition(scores, self.probes - 1, axis=1)[:, : self.probes]
        short = sizes[lists].sum(axis=1) < keep
        order = np.argsort(scores[short], axis=1, kind="stable")
        visits = np.arange(self.n_lists) < (sizes[order].cumsum(axis=1) < keep).sum(axis=1)[:, None] + 1
        which, slot = np.nonzero(visits)
        askers = np.concatenate([np.repeat(some[~short], self.probes), some[short][which]])
        return askers, np.concatenate([lists[~short].reshape(-1), order[which, slot]])

    def _look(self, number: int, askers: NDArray[np.int64], moved: NDArray[np.float32], best: Largest) -> None:
        first, last = int(self._first[number]), int(self._first[number + 1])
        for start in range(first, last, self._block):
            rows = self._frame.move(np.asarray(self._rows[start : min(start + self._block, last)]))
            step = max(1, self._memory // 64 // (4 * len(rows.rows)))
            for at in range(0, len(askers), step):
                some = askers[at : at + step]
                with np.errstate(over="ignore", invalid="ignore"):
                    best.take_of(some, np.dot(moved[some], rows.rows.T), rows.half, start)
