"""The exact neighbour graph over a cluster: a block of queries meets each worker's rows, and the best are merged."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.cluster.base import check_integer
from fastclust.data import ResultFolder, open_rows, write_results
from fastclust.data.limits import is_streamed
from fastclust.data.mapping import digest_of
from fastclust.data.rows import bytes_of
from fastclust.distributed.pool import check_workers, nodes, open_workers, received
from fastclust.distributed.rows import stretches
from fastclust.distributed.threads import limited
from fastclust.errors import InputError
from fastclust.neighbors.lists import Passing
from fastclust.neighbors.metrics import Metric, metric_of, rows_of, without_itself

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust.data import RowSource

__all__ = ["kneighbors_to"]

#: Queries that are searched together.
_QUERIES = 1 << 13


def _number(one: tuple[int, Any]) -> int:
    return one[0]


class _Searcher:
    """The nearest among one stretch of the rows, which is kept where memory allows."""

    def __init__(self, source: RowSource, first: int, kind: Metric, threads: int | None) -> None:
        self._source, self._first, self._kind, self._threads = source, first, kind, threads

    @cached_property
    def _engine(self) -> Passing:
        # Made when first asked for: what is wrong with rows is then an error of the call, not of the worker's start.
        source = self._source
        kept = source if is_streamed(source) else open_rows(source.read(), memory=source.memory)
        return Passing(kept, self._kind)

    def search(self, queries: Any, k: int) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
        """Distances among mapped rows and numbers, of the k nearest or of all rows where there are fewer.

        And how many of the queries float32 scores left open, and float64 settled.
        """
        with limited(self._threads):
            before = self._engine.recomputed
            distances, found = self._engine.search(received(queries), min(k, self._engine.shape[0]))
            return distances, found + self._first, self._engine.recomputed - before


def kneighbors_to(
    X: Any,
    folder: str | os.PathLike[str],
    n_neighbors: int = 15,
    *,
    metric: Any = "euclidean",
    address: str | None = None,
    n_workers: int | str = "auto",
    memory: int | str | None = None,
    threads: int | None = None,
) -> list[Path]:
    """Write the nearest neighbours of each row of ``X``, itself left out: Parquet files as ``NeighborIndex`` writes.

    Exact: the neighbours of a float64 brute force, ties to the lowest number. Called again after a kill, what is
    missing is written. Progress says at the end how many searches of a stretch float32 scores left open, and float64
    settled.

    Parameters
    ----------
    X
        What :func:`fastclust.open_rows` opens, ``[n, d]``; files by the same names on all nodes.
    n_neighbors, metric
        As for :func:`fastclust.knn_graph`.
    address, n_workers, memory, threads
        As for :class:`fastclust.distributed.KMeans`.

    Raises
    ------
    InputError, PreconditionError, MissingPackageError, UnavailableError
        As :meth:`fastclust.NeighborIndex.kneighbors_to` and :meth:`fastclust.distributed.KMeans.fit`.
    """
    check_workers(n_workers, threads)
    check_integer("n_neighbors", n_neighbors)
    allowed = None if memory is None else bytes_of(memory)
    source, kind = open_rows(X), metric_of(metric)
    n = len(source)
    if not 1 <= n_neighbors < n:
        raise InputError("n_neighbors", n_neighbors, f"1..{n - 1}, one less than the number of rows")
    linear = [] if kind.map is None else [kind.map.components_, kind.map.mean_]
    kept = ResultFolder(folder, source, f"{n_neighbors} nearest of all, {kind.name} {digest_of(linear)}")
    if not kept.missing():
        return [file for file, _ in kept.parts]
    given = []
    for low, high in stretches(n, nodes(address) if n_workers == "auto" else int(n_workers)):
        part = source.stretch(low, high)
        part.memory = allowed
        given.append((part, low, kind, threads))
    workers = open_workers(_Searcher, given, address)
    recomputed: list[int] = []

    def compute(block: NDArray[Any], start: int) -> dict[str, NDArray[Any]]:
        shared = workers.share(kind.enter(rows_of(block), wide=True))
        parts = [found for _, found in sorted(workers.each("search", shared, n_neighbors + 1), key=_number)]
        distances, found = (np.concatenate(part, axis=1) for part in list(zip(*parts, strict=True))[:2])
        recomputed.append(sum(part[2] for part in parts))
        order = np.lexsort((found, distances), axis=1)[:, : n_neighbors + 1]
        near = kind.finish(np.take_along_axis(distances, order, 1)).astype(np.float32)
        near, numbers = without_itself(near, np.take_along_axis(found, order, 1), start)
        return {"indices": numbers, "distances": near}

    try:
        written = write_results(kept, source, compute, block=_QUERIES, step="neighbors")
        progress.report("neighbors", n, n, f"{sum(recomputed)} searches of a stretch settled in float64")
        return written
    finally:
        workers.close()
