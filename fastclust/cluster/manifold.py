"""k-means on the manifold: clusters of rows that paths of near neighbours join."""

from __future__ import annotations

import numbers
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastclust import progress
from fastclust.artifacts import load_model, save_model
from fastclust.cluster.base import check_integer
from fastclust.cluster.inputs import check_rows
from fastclust.cluster.kmeans import KMeans
from fastclust.cluster.spectral import Spectrum, spectrum_of
from fastclust.errors import InputError, InputTypeError
from fastclust.neighbors import NeighborGraph, NeighborIndex, knn_graph
from fastclust.neighbors.affinity import affinity, to_cosine

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["ManifoldKMeans"]

_KIND = "manifold_kmeans"
#: A component with fewer rows than this share of an average cluster has no say in the embedding.
_SMALL = 0.05
#: Eigenvectors for each cluster, where they are weighted.
_MORE = 3
#: Rows that are placed at once.
_BLOCK = 8192


class _Near:
    """The fitted rows, indexed when first asked for."""

    def __init__(self, rows: NDArray[Any] | None, index: str) -> None:
        self._rows = rows
        self._kind = index
        self._index: NeighborIndex | None = None

    @property
    def rows(self) -> NDArray[Any]:
        """The rows. Raises InputError where a fit on a graph did not have them."""
        if self._rows is None:
            raise InputError("X", "a model fitted on a graph without its rows", "one fitted on rows")
        return self._rows

    def search(self, X: NDArray[Any], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return at most ``k`` nearest rows by cosine, and the cosines: ``[q, k]`` both."""
        if self._index is None:
            self._index = NeighborIndex(metric="cosine", index=self._kind).fit(self.rows)
        distances, indices = self._index.kneighbors(X, min(k, len(self.rows)))
        return indices, 1.0 - np.asarray(distances, np.float64)


class ManifoldKMeans(ClusterMixin, BaseEstimator):
    """k-means on the leading eigenvectors of the neighbour graph's normalised affinity, brought to length 1.

    The graph is that of the nearest neighbours by cosine, where a pair is joined if either names the other; its
    weights are max(cosine, 0)^exponent. Rows of tiny components of it are placed afterwards, by their nearest rows
    in the others, as new rows are.

    Parameters
    ----------
    n_clusters
        Number of clusters, at most the number of rows.
    n_neighbors
        Neighbours in the graph; fewer where there are fewer other rows.
    n_components
        Eigenvectors; "auto": three times ``n_clusters``, or ``n_clusters`` where ``damping`` is 0.
    exponent
        Power of the cosine.
    damping
        alpha in [0, 1): an eigenvector of eigenvalue lambda counts with 1 / (1 - alpha lambda), so that rows are
        compared by their manifold similarity to all others, (I - alpha S)^-1. 0: all count alike, as in spectral
        clustering. 0.95 is better where clusters are uneven clouds, as learned features are; 0 where they are long
        and thin.
    n_init, max_iter
        Of k-means; see :class:`~fastclust.KMeans`.
    index
        How neighbours are found; see :func:`fastclust.knn_graph`.
    random_state
        Seed.

    Attributes
    ----------
    labels_
        int32 ``[n]``.
    embedding_
        Coordinates that k-means ran on, ``[n, p]``.
    eigenvalues_
        ``[p]``, descending.
    n_placed_
        Rows that were placed because their component was tiny, or they had no direction (all zeros).
    index_, recall_
        What found the neighbours, and its measured recall.
    n_iter_, inertia_, n_features_in_
        Of k-means, and d.

    References
    ----------
    A. Ng, M. Jordan, Y. Weiss, "On Spectral Clustering", NIPS 2001. Y. Bengio et al., "Out-of-Sample Extensions", NIPS
    2003. The affinity is that of A. Iscen et al., "Mining on Manifolds", CVPR 2018.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_neighbors: int = 15,
        n_components: int | str = "auto",
        exponent: float = 3.0,
        damping: float = 0.0,
        n_init: int | str = 10,
        max_iter: int = 300,
        index: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_neighbors = n_neighbors
        self.n_components = n_components
        self.exponent = exponent
        self.damping = damping
        self.n_init = n_init
        self.max_iter = max_iter
        self.index = index
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Cluster rows ``[n, d]``, or a :class:`~fastclust.NeighborGraph` by cosine.

        From a graph without its rows (``graph.source`` is None), :meth:`predict` is not possible.

        Raises
        ------
        InputError, InputTypeError
            More clusters than rows, NaN or Inf, wrong shapes or parameters, a graph of another metric or too narrow.
        PreconditionError
            The eigenvectors did not converge.
        """
        self._check_parameters()
        random = check_random_state(self.random_state)
        n, directed, graph = self._graph(X)
        if self.n_clusters > n:
            raise InputError("n_clusters", self.n_clusters, f"1..{n}", f"n_samples={n} should be >= the clusters")
        self.index_, self.recall_ = graph.index_, graph.recall
        joined = affinity(graph.indices, to_cosine(graph)(graph.distances), exponent=self.exponent, mutual=False)
        kept = _large_components(joined, max(2, int(_SMALL * n / self.n_clusters)))
        self._near = _Near(None if graph.source is None else np.asarray(graph.source)[kept], self.index)
        self._embed(joined[kept][:, kept], random)
        self._means = KMeans(
            min(self.n_clusters, len(kept)),
            n_init=self.n_init,
            max_iter=self.max_iter,
            random_state=random.randint(2**31 - 1),
        ).fit(self._spectrum.coordinates())
        self._label(n, directed[kept], np.delete(directed, kept), graph, np.delete(np.arange(len(directed)), kept))
        self.n_iter_, self.inertia_ = self._means.n_iter_, self._means.inertia_
        return self

    def _embed(self, joined: Any, random: Any) -> None:
        usual = _MORE * self.n_clusters if self.damping else self.n_clusters
        wanted = usual if self.n_components == "auto" else int(self.n_components)
        tick = partial(progress.report, "spectrum", 0, 1, "eigenvectors")
        tick()
        seed = int(random.randint(2**31 - 1))
        self._spectrum = spectrum_of(
            joined, wanted, exponent=self.exponent, seed=seed, tick=tick, damping=float(self.damping)
        )
        progress.report("spectrum", 1, 1, "eigenvectors")
        self.eigenvalues_ = self._spectrum.values

    def _label(
        self,
        n: int,
        kept: NDArray[np.int64],
        outside: NDArray[np.int64],
        graph: NeighborGraph,
        places: NDArray[np.int64],
    ) -> None:
        """Fill in all rows: those of the embedding, those ``outside`` it (at ``places`` in the graph), blank ones."""
        embedding = np.zeros((n, len(self._spectrum.values)))
        embedding[kept] = self._spectrum.coordinates()
        if len(outside):
            if graph.source is None:
                raise InputError(
                    "X",
                    f"a graph without its rows, {len(outside)} of which are in tiny components",
                    "a graph that keeps its rows",
                    "Build it with knn_graph(X, ...), or with more neighbours.",
                )
            embedding[outside] = self._place(np.asarray(graph.source)[places])
        self.embedding_ = embedding
        self.n_placed_ = n - len(kept)
        self.labels_ = self._means.predict(embedding)
        self.labels_[kept] = self._means.labels_

    def predict(self, X: Any) -> NDArray[np.int32]:
        """Return the clusters of rows ``[q, d]``, int32 ``[q]``: that of the embedding's nearest centre.

        Raises NotFittedError, and InputError where the model was fitted on a graph without rows.
        """
        labels: NDArray[np.int32] = self._means_of_fit().predict(self.coordinates(X))
        return labels

    def coordinates(self, X: Any) -> NDArray[np.float64]:
        """Return coordinates in the spectral embedding by the Nystrom formula: float64 ``[q, p]`` of ``X`` ``[q, d]``.

        Raises InputError, InputTypeError.
        """
        self._means_of_fit()
        rows = check_rows(self, X, reset=False)
        return self._place(rows)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what :meth:`predict` needs as one safetensors file."""
        self._means_of_fit()
        spectrum = self._spectrum
        params = {
            "params": {**self.get_params(), "random_state": None},
            "fitted": {"index_": self.index_, "recall_": self.recall_, "n_placed_": self.n_placed_}
            | {"n_iter_": self.n_iter_, "inertia_": self.inertia_, "n_features_in_": self.n_features_in_},
        }
        save_model(
            path,
            _KIND,
            params,
            {
                "rows": self._near.rows,
                "values": spectrum.values,
                "vectors": spectrum.vectors,
                "degree": spectrum.degree,
                "centers": self._means.cluster_centers_,
                "labels": self.labels_,
                "embedding": self.embedding_,
            },
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote; it predicts as before. Raises NotFoundError, DataError."""
        stored, tensors = load_model(path, _KIND)
        model = cls(**{"damping": 0.0, **stored["params"]})  # files of the first version do not name it
        for name, value in stored["fitted"].items():
            setattr(model, name, value)
        model._near = _Near(tensors["rows"], model.index)
        values, vectors, degree = tensors["values"], tensors["vectors"], tensors["degree"]
        model._spectrum = Spectrum(values, vectors, degree, model.exponent, float(model.damping))
        model.eigenvalues_, model.labels_, model.embedding_ = tensors["values"], tensors["labels"], tensors["embedding"]
        centers = tensors["centers"]
        # Centres that are fitted as rows, from themselves, stay where they are.
        model._means = KMeans(len(centers), init=centers, n_init=1, max_iter=1).fit(centers)
        return model

    def _means_of_fit(self) -> KMeans:
        check_is_fitted(self, "labels_")
        return self._means

    def _graph(self, X: Any) -> tuple[int, NDArray[np.int64], NeighborGraph]:
        """Return the number of rows, those that have a direction, and the graph of these."""
        if isinstance(X, NeighborGraph):
            if X.source is not None:
                self.n_features_in_ = X.source.shape[1]
            return X.n_rows, np.arange(X.n_rows), X.head(min(self.n_neighbors, X.n_rows - 1))
        if hasattr(X, "tocsr"):
            raise InputTypeError("X", "a sparse matrix", "a dense array", "Call .toarray().")
        rows = check_rows(self, X, reset=True)
        directed = np.flatnonzero(rows.any(axis=1))
        if len(directed) < 2:
            raise InputError("X", f"n_samples={len(rows)}, {len(directed)} not all zeros", "at least 2 such rows")
        inside = rows if len(directed) == len(rows) else rows[directed]
        graph = knn_graph(inside, min(self.n_neighbors, len(inside) - 1), metric="cosine", index=self.index)
        return len(rows), directed, graph

    def _place(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Coordinates of rows by their nearest fitted ones; zeros for rows of zeros."""
        placed = np.zeros((len(rows), len(self._spectrum.values)))
        directed = np.flatnonzero(rows.any(axis=1))
        for start in range(0, len(directed), _BLOCK):
            part = directed[start : start + _BLOCK]
            placed[part] = self._spectrum.extend(*self._near.search(rows[part], self.n_neighbors))
        return placed

    def _check_parameters(self) -> None:
        for name in ("n_clusters", "n_neighbors", "max_iter"):
            check_integer(name, getattr(self, name))
        if self.n_components != "auto":
            check_integer("n_components", self.n_components)
        if not isinstance(self.exponent, numbers.Real) or not float(self.exponent) > 0:
            raise InputError("exponent", repr(self.exponent), "a number above 0")
        if not isinstance(self.damping, numbers.Real) or not 0 <= float(self.damping) < 1:
            raise InputError("damping", repr(self.damping), "a number from 0 to below 1")


def _large_components(graph: Any, least: int) -> NDArray[np.int64]:
    """Rows, ascending, of the components that have at least ``least`` of them, and of the largest one."""
    from scipy.sparse.csgraph import connected_components

    _, component = connected_components(graph, directed=False)
    sizes = np.bincount(component)
    large = sizes >= min(least, sizes.max())
    return np.flatnonzero(large[component])
