"""An index of rows to search with other rows, in scikit-learn's conventions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastclust import progress
from fastclust.artifacts import load_model, save_model
from fastclust.data import ResultFolder, RowSource, open_rows, write_results
from fastclust.data.limits import is_streamed
from fastclust.data.mapping import digest_of
from fastclust.errors import BackendError, InputError
from fastclust.metric import MahalanobisMetric
from fastclust.neighbors.engines import choose_name, make
from fastclust.neighbors.exact import brute_force, true_distances
from fastclust.neighbors.graph import NeighborGraph, knn_graph
from fastclust.neighbors.lists import Lists, Passing, StreamedEngine
from fastclust.neighbors.metrics import metric_of, rows_of, without_itself
from fastclust_kernels import checks

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["NeighborIndex"]

_KIND = "neighbor_index"
#: Queries that are written together, where the index is in memory.
_BLOCK = 4096


class NeighborIndex(BaseEstimator):
    """Nearest neighbours of new rows among the rows fitted.

    Parameters
    ----------
    metric
        "euclidean", "cosine", "inner_product" or a fitted MahalanobisMetric.
    index
        "auto", "exact", "cells", "flat", "ivf", "ivfpq", "hnsw", "nsg", "nndescent" or a FAISS factory string; see
        :func:`fastclust.knn_graph`.
    backend
        "auto", "cpu" or "gpu"; see :func:`fastclust.knn_graph`.

    Attributes
    ----------
    index_, n_features_in_, n_samples_fit_
        What was chosen, d and n.
    recomputed_
        With "exact": how many queries of the last call float32 scores left open, and float64 settled. Results are those
        of a float64 brute force for all.
    """

    def __init__(self, metric: Any = "euclidean", index: str = "auto", backend: str = "auto") -> None:
        self.metric = metric
        self.index = index
        self.backend = backend

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Index the rows ``X`` ``[n, d]``. Raises InputError, BackendError, MissingPackageError.

        Rows of :func:`fastclust.open_rows` that take more than half of the memory they were opened with stay in files:
        "exact" reads them for every few thousand queries, "ivf" (what "auto" takes) copies them to a file, list by
        list.
        """
        if is_streamed(X) and self.backend not in ("auto", "cpu"):
            raise BackendError(f"backend={self.backend!r}: the rows of X stay in files. Allowed for such: auto, cpu.")
        return self._stream(X) if is_streamed(X) else self._build(rows_of(X))

    def _stream(self, source: RowSource) -> Self:
        kind = self._kind = metric_of(self.metric)
        names = ("auto", "exact") if kind.inner else ("auto", "exact", "ivf")
        if self.index not in names:
            raise BackendError(
                f"index={self.index!r}: the rows of {source.name} stay in files. Allowed for such: {', '.join(names)}; "
                "or give them more memory: open_rows(..., memory=)."
            )
        self.index_ = "exact" if kind.inner or self.index == "exact" else "ivf"
        self._rows: Any = source
        self._engine: Any = Passing(source, kind) if self.index_ == "exact" else Lists(source, kind)
        self.n_samples_fit_, self.n_features_in_ = source.shape
        return self

    def _build(self, rows: NDArray[Any]) -> Self:
        self._kind = metric_of(self.metric)
        self.index_ = choose_name(self.index, len(rows), self.backend, inner=self._kind.inner)
        inside = self._kind.enter(rows, wide=self.index_ == "exact")
        self._engine = make(self.index_, inside, inner=self._kind.inner, k=16, backend=self.backend)
        self._rows = rows
        self.n_samples_fit_, self.n_features_in_ = rows.shape
        return self

    def kneighbors(self, X: Any = None, n_neighbors: int = 15, *, return_distance: bool = True) -> Any:
        """Find the nearest fitted rows of each row of ``X`` (None: of the fitted rows themselves, self left out).

        Returns
        -------
        distances, indices
            float32 and int64 ``[q, k]``, nearest first; ``indices`` alone without ``return_distance``.

        Raises
        ------
        InputError, InputTypeError
            Rows of another width, NaN or Inf, more neighbours than there are rows.
        """
        check_is_fitted(self, "index_")
        if isinstance(self._engine, StreamedEngine):
            return self._kneighbors_streamed(X, n_neighbors, return_distance=return_distance)
        if X is None:
            graph = knn_graph(self._rows, n_neighbors, self.metric, self.index_, self.backend)
            self.recomputed_ = graph.recomputed_ or 0
            return (graph.distances, graph.indices) if return_distance else graph.indices
        queries = rows_of(X)
        if queries.shape[1] != self.n_features_in_:
            raise InputError("X", f"{queries.shape[1]} columns", f"{self.n_features_in_}, as in fit")
        if not 1 <= n_neighbors <= self.n_samples_fit_:
            raise InputError("n_neighbors", n_neighbors, f"1..{self.n_samples_fit_}, the number of rows fitted")
        inside = self._kind.enter(queries, wide=self.index_ == "exact")
        before = self._engine.recomputed
        found = self._engine.search(inside, n_neighbors)
        self.recomputed_ = self._engine.recomputed - before
        short = np.flatnonzero((found < 0).any(axis=1))
        if len(short):
            found[short] = brute_force(self._engine.rows, inside[short], n_neighbors, inner=self._kind.inner).numbers
        distances = true_distances(self._engine.rows, inside, found, inner=self._kind.inner)
        order = np.lexsort((found, distances), axis=1)
        found = np.take_along_axis(found, order, 1)
        finished = self._kind.finish(np.take_along_axis(distances, order, 1)).astype(np.float32)
        return (finished, found) if return_distance else found

    def _kneighbors_streamed(self, X: Any, k: int, *, return_distance: bool) -> Any:
        queries = self._rows if X is None else open_rows(X)
        self._check_queries(queries, k, others=X is None)
        before = self._engine.recomputed
        parts = [
            self._nearest(block, start, k, len(queries), others=X is None)
            for start, block in _numbered(queries.blocks(self._engine.together(k + (X is None))))
        ]
        self.recomputed_ = self._engine.recomputed - before
        distances, found = (np.concatenate(part) for part in zip(*parts, strict=True))
        return (distances, found) if return_distance else found

    def _nearest(
        self, block: NDArray[Any], start: int, k: int, total: int, *, others: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Of the queries from ``start`` on, of ``total``; they are the fitted rows where ``others`` are wanted."""
        queries = self._kind.enter(checks.check_matrix(np.asarray(block), "X"), wide=self._engine.exact)
        with progress.as_part("neighbors", "neighbors", start / total, (start + len(block)) / total):
            distances, found = self._engine.search(queries, k + others)
        finished = self._kind.finish(distances).astype(np.float32)
        return without_itself(finished, found, start) if others else (finished, found)

    def _check_queries(self, queries: RowSource, k: int, *, others: bool) -> None:
        if queries.shape[1] != self.n_features_in_:
            raise InputError("X", f"{queries.shape[1]} columns", f"{self.n_features_in_}, as in fit")
        if not 1 <= k <= self.n_samples_fit_ - others:
            raise InputError("n_neighbors", k, f"1..{self.n_samples_fit_ - others}, the number of rows to find")

    def kneighbors_to(self, X: Any, folder: str | os.PathLike[str], n_neighbors: int = 15) -> list[Path]:
        """Write the nearest fitted rows of each row of ``X`` (None: of the fitted rows themselves, self left out).

        Parquet files of ``row``, ``indices`` and ``distances``, one or more for each file of the source. Each appears
        whole; called again after a kill with the same index, what is missing is written. Raises PreconditionError for a
        folder with other results.
        """
        check_is_fitted(self, "index_")
        queries = open_rows(self._rows if X is None else X)
        self._check_queries(queries, n_neighbors, others=X is None)

        def compute(block: NDArray[Any], start: int) -> dict[str, NDArray[Any]]:
            if isinstance(self._engine, StreamedEngine):
                distances, found = self._nearest(block, start, n_neighbors, len(queries), others=X is None)
            else:
                distances, found = self._kneighbors_here(block, start, n_neighbors, others=X is None)
            return {"indices": found, "distances": distances}

        fitted = open_rows(self._rows).identity()
        linear = [] if self._kind.map is None else [self._kind.map.components_, self._kind.map.mean_]
        what = f"{n_neighbors} neighbours in {fitted}, {self._kind.name} {self.index_} {digest_of(linear)}"
        streamed = isinstance(self._engine, StreamedEngine)
        block = self._engine.together(n_neighbors + (X is None)) if streamed else _BLOCK
        before = self._engine.recomputed
        written = write_results(ResultFolder(folder, queries, what), queries, compute, block=block, step="neighbors")
        self.recomputed_ = self._engine.recomputed - before
        return written

    def _kneighbors_here(self, block: NDArray[Any], start: int, k: int, *, others: bool) -> Any:
        distances, found = self.kneighbors(block, k + others)
        return without_itself(distances, found, start) if others else (distances, found)

    def kneighbors_graph(self, X: Any = None, n_neighbors: int = 15, mode: str = "connectivity") -> Any:
        """Return a SciPy CSR matrix ``[q, n]`` of ones or, with mode="distance", of distances. Raises InputError."""
        from scipy.sparse import csr_matrix

        distances, found = self.kneighbors(X, n_neighbors)
        if mode not in ("connectivity", "distance"):
            raise InputError("mode", repr(mode), "connectivity, distance")
        values = distances.ravel() if mode == "distance" else np.ones(found.size)
        pointers = np.arange(0, found.size + 1, n_neighbors)
        return csr_matrix((values, found.ravel(), pointers), shape=(len(found), self.n_samples_fit_))

    def graph(self, n_neighbors: int = 15) -> NeighborGraph:
        """Return the graph of the fitted rows. Raises InputError where they stay in files: see kneighbors_to."""
        self._check_in_memory()
        return knn_graph(self._rows, n_neighbors, self.metric, self.index_, self.backend)

    def add(self, X: Any) -> Self:
        """Index more rows ``X`` ``[m, d]``; they are numbered on from the last. The index is built anew.

        Raises InputError, InputTypeError for rows of another width, and where the rows stay in files.
        """
        self._check_in_memory()
        more = rows_of(X)
        if more.shape[1] != self.n_features_in_:
            raise InputError("X", f"{more.shape[1]} columns", f"{self.n_features_in_}, as in fit")
        return self._build(np.vstack([self._rows, more.astype(self._rows.dtype)]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write rows, metric and kind of index as one safetensors file; the index is built anew on loading."""
        self._check_in_memory()
        tensors = {"rows": self._rows}
        if self._kind.map is not None:
            tensors |= {"components": self._kind.map.components_, "mean": self._kind.map.mean_}
        save_model(Path(path), _KIND, {"metric": self._kind.name, "index": self.index_}, tensors)

    def _check_in_memory(self) -> None:
        check_is_fitted(self, "index_")
        if isinstance(self._engine, StreamedEngine):
            raise InputError(
                "X", f"{self.n_samples_fit_} rows in files", "rows in memory", "kneighbors and kneighbors_to take both."
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote. Raises NotFoundError, DataError."""
        params, tensors = load_model(path, _KIND)
        metric: Any = params["metric"]
        if metric == "mahalanobis":
            metric = MahalanobisMetric.from_factor(tensors["components"].T)
            metric.mean_ = tensors["mean"]
        return cls(metric, params["index"])._build(tensors["rows"])  # noqa: SLF001 - our own


def _numbered(blocks: Iterator[NDArray[Any]]) -> Iterator[tuple[int, NDArray[Any]]]:
    start = 0
    for block in blocks:
        yield start, block
        start += len(block)
