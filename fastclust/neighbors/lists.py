"""An index of rows that stay in files: lists around centres of a sample, each list a stretch of a file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastclust import progress
from fastclust.data.limits import block_rows, memory_of
from fastclust.data.scratch import scratch
from fastclust.neighbors.merging import SPARE, Nearest, scores_of
from fastclust.neighbors.packages import faiss
from fastclust_kernels.assign import assign

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


class StreamedEngine:
    """What both ways have in common: blocks of the source in the metric's space, and distances by differences."""

    exact = False

    def __init__(self, source: RowSource, kind: Metric) -> None:
        self._source, self._kind = source, kind
        self.shape = source.shape
        self._memory = memory_of(source)
        self._width = int(kind.enter(source.take([0])).shape[1])
        self._block = block_rows(self._memory, 4 * max(self._width, source.shape[1]))
        sample = np.linspace(0, len(source) - 1, min(len(source), 1000)).astype(np.int64)
        self._shift = kind.enter(source.take(sample)).mean(axis=0, dtype=np.float64).astype(np.float32)

    @property
    def queries(self) -> int:
        """Queries that are searched together."""
        return max(1, min(self._memory // (16 * (4 * self._width + 512)), 1 << 14))

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Blocks in the metric's space, each with the number of its first row."""
        start = 0
        for rows in self._source.blocks(self._block, change=self._kind.enter):
            yield start, rows
            start += len(rows)

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some rows, in the metric's space."""
        return self._kind.enter(self._source.take(numbers))

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distances among mapped rows and numbers ``[q, k]``, nearest first; ties go to the lowest number."""
        keep = min(k + SPARE, self.shape[0])
        found = self.candidates(queries, keep).numbers
        exact = np.full(found.shape, np.inf)
        step = max(1, self._memory // (64 * keep * self._width))
        for start in range(0, len(queries), step):
            named = found[start : start + step]
            different, back = np.unique(np.maximum(named, 0), return_inverse=True)
            near = self.rows(different)[back.reshape(named.shape)].astype(np.float64)
            own = queries[start : start + step, None].astype(np.float64)
            values = -(near * own).sum(axis=2) if self._kind.inner else np.einsum("qmd,qmd->qm", near - own, near - own)
            exact[start : start + step] = np.where(named < 0, np.inf, values)
        order = np.lexsort((found, exact), axis=1)[:, :k]
        best = np.take_along_axis(exact, order, 1)
        return best if self._kind.inner else np.sqrt(best), np.take_along_axis(found, order, 1)

    def candidates(self, queries: NDArray[np.float32], keep: int) -> Nearest:
        """The nearest by float32 scores."""
        raise NotImplementedError


class Passing(StreamedEngine):
    """All rows, read once for as many queries as are searched together."""

    exact = True

    def candidates(self, queries: NDArray[np.float32], keep: int) -> Nearest:
        """The nearest by float32 scores."""
        best = Nearest(len(queries), keep)
        for start, rows in self.blocks():
            step = max(1, self._memory // 16 // (4 * len(rows)))
            for at in range(0, len(queries), step):
                some = slice(at, min(at + step, len(queries)))
                scores = scores_of(queries[some], rows, inner=self._kind.inner, shift=self._shift)
                best.merge(some, scores, np.arange(start, start + len(rows)))
            progress.report("neighbors", start + len(rows), self.shape[0], "all rows")
        return best


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

    def candidates(self, queries: NDArray[np.float32], keep: int) -> Nearest:
        """The nearest by float32 scores in the lists nearest to each query; more lists where those hold too few."""
        best = Nearest(len(queries), keep)
        scores = scores_of(queries, self._centers, inner=False, shift=self._shift)
        lists = np.argsort(scores, axis=1, kind="stable")
        sizes = np.diff(self._first)[lists].cumsum(axis=1)
        wanted = np.maximum(self.probes, (sizes < keep).sum(axis=1) + 1)
        visits = np.arange(self.n_lists) < wanted[:, None]
        which, slot = np.nonzero(visits)
        visited = lists[which, slot]
        order = np.argsort(visited, kind="stable")
        ends = np.searchsorted(visited[order], np.arange(self.n_lists + 1))
        for number in range(self.n_lists):
            askers = which[order[ends[number] : ends[number + 1]]]
            self._look(number, np.sort(askers), queries, best)
        return best

    def _look(self, number: int, askers: NDArray[np.int64], queries: NDArray[np.float32], best: Nearest) -> None:
        for start in range(int(self._first[number]), int(self._first[number + 1]) if len(askers) else 0, self._block):
            here = slice(start, min(start + self._block, int(self._first[number + 1])))
            rows = np.asarray(self._rows[here])
            step = max(1, self._memory // 16 // (4 * len(rows)))
            for at in range(0, len(askers), step):
                some = askers[at : at + step]
                scores = scores_of(queries[some], rows, inner=self._kind.inner, shift=self._shift)
                best.merge(some, scores, np.asarray(self._numbers[here]))
