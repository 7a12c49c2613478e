"""An index of rows to search with other rows, in scikit-learn's conventions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastclust.artifacts import load_model, save_model
from fastclust.errors import BackendError, InputError
from fastclust.metric import MahalanobisMetric
from fastclust.neighbors.engines import choose_name, make
from fastclust.neighbors.exact import brute_force, true_distances
from fastclust.neighbors.graph import NeighborGraph, knn_graph
from fastclust.neighbors.metrics import metric_of, rows_of

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["NeighborIndex"]

_KIND = "neighbor_index"


class NeighborIndex(BaseEstimator):
    """Nearest neighbours of new rows among the rows fitted.

    Parameters
    ----------
    metric
        "euclidean", "cosine", "inner_product" or a fitted MahalanobisMetric.
    index
        "auto", "exact", "flat", "ivf", "ivfpq", "hnsw", "nsg", "nndescent" or a FAISS factory string.
    backend
        "auto" or "cpu".

    Attributes
    ----------
    index_, n_features_in_, n_samples_fit_
        What was chosen, d and n.
    """

    def __init__(self, metric: Any = "euclidean", index: str = "auto", backend: str = "auto") -> None:
        self.metric = metric
        self.index = index
        self.backend = backend

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Index the rows ``X`` ``[n, d]``. Raises InputError, BackendError, MissingPackageError."""
        if self.backend not in ("auto", "cpu"):
            raise BackendError(f"backend={self.backend!r}: neighbour search runs on the CPU here. Allowed: auto, cpu.")
        return self._build(rows_of(X))

    def _build(self, rows: NDArray[Any]) -> Self:
        self._kind = metric_of(self.metric)
        inside = self._kind.enter(rows)
        self.index_ = choose_name(self.index, len(inside))
        self._engine = make(self.index_, inside, inner=self._kind.inner, k=16)
        self._rows = rows
        self.n_samples_fit_, self.n_features_in_ = rows.shape
        return self

    def kneighbors(self, X: Any = None, n_neighbors: int = 15, *, return_distance: bool = True) -> Any:
        """Find the nearest fitted rows of each row of ``X`` (None: of the fitted rows themselves, self left out).

        Returns
        -------
        distances, indices
            float32 and int64 ``[q, k]``, nearest first; ``indices`` alone without ``return_distance``.
        """
        check_is_fitted(self, "index_")
        if X is None:
            graph = knn_graph(self._rows, n_neighbors, self.metric, self.index_)
            return (graph.distances, graph.indices) if return_distance else graph.indices
        queries = rows_of(X)
        if queries.shape[1] != self.n_features_in_:
            raise InputError("X", f"{queries.shape[1]} columns", f"{self.n_features_in_}, as in fit")
        if not 1 <= n_neighbors <= self.n_samples_fit_:
            raise InputError("n_neighbors", n_neighbors, f"1..{self.n_samples_fit_}, the number of rows fitted")
        inside = self._kind.enter(queries)
        found = self._engine.search(inside, n_neighbors)
        short = np.flatnonzero((found < 0).any(axis=1))
        if len(short):
            found[short] = brute_force(self._engine.rows, inside[short], n_neighbors, inner=self._kind.inner)
        distances = true_distances(self._engine.rows, inside, found, inner=self._kind.inner)
        order = np.lexsort((found, distances), axis=1)
        found = np.take_along_axis(found, order, 1)
        finished = self._kind.finish(np.take_along_axis(distances, order, 1)).astype(np.float32)
        return (finished, found) if return_distance else found

    def kneighbors_graph(self, X: Any = None, n_neighbors: int = 15, mode: str = "connectivity") -> Any:
        """Return a SciPy CSR matrix ``[q, n]`` of ones or, with mode="distance", of distances."""
        from scipy.sparse import csr_matrix

        distances, found = self.kneighbors(X, n_neighbors)
        if mode not in ("connectivity", "distance"):
            raise InputError("mode", repr(mode), "connectivity, distance")
        values = distances.ravel() if mode == "distance" else np.ones(found.size)
        pointers = np.arange(0, found.size + 1, n_neighbors)
        return csr_matrix((values, found.ravel(), pointers), shape=(len(found), self.n_samples_fit_))

    def graph(self, n_neighbors: int = 15) -> NeighborGraph:
        """Return the graph of the fitted rows."""
        check_is_fitted(self, "index_")
        return knn_graph(self._rows, n_neighbors, self.metric, self.index_)

    def add(self, X: Any) -> Self:
        """Index more rows; they are numbered on from the last. The index is built anew."""
        check_is_fitted(self, "index_")
        more = rows_of(X)
        if more.shape[1] != self.n_features_in_:
            raise InputError("X", f"{more.shape[1]} columns", f"{self.n_features_in_}, as in fit")
        return self._build(np.vstack([self._rows, more.astype(self._rows.dtype)]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write rows, metric and kind of index as one safetensors file; the index is built anew on loading."""
        check_is_fitted(self, "index_")
        tensors = {"rows": self._rows}
        if self._kind.map is not None:
            tensors |= {"components": self._kind.map.components_, "mean": self._kind.map.mean_}
        save_model(Path(path), _KIND, {"metric": self._kind.name, "index": self.index_}, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote. Raises NotFoundError, DataError."""
        params, tensors = load_model(path, _KIND)
        metric: Any = params["metric"]
        if metric == "mahalanobis":
            metric = MahalanobisMetric.from_factor(tensors["components"].T)
            metric.mean_ = tensors["mean"]
        return cls(metric, params["index"])._build(tensors["rows"])  # noqa: SLF001 - our own
