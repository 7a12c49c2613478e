"""t-SNE with openTSNE's and scikit-learn's conventions, from our one neighbour graph."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastclust.errors import BackendError, InputError, PreconditionError
from fastclust.maps.opentsne import affinities_of, optimize
from fastclust.maps.starts import start_of
from fastclust.neighbors import NeighborGraph, NeighborIndex, knn_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TSNE"]

_EARLY_ITERATIONS = 250
_EARLY = 12.0
_PLACED_BY = 10
_BACKENDS = ("auto", "opentsne")
_NOT_YET = {
    "cpu": "our own optimiser for the CPU is not part of this version",
    "gpu": "our own optimiser for GPUs is not part of this version",
}


class TSNE(BaseEstimator):
    """t-distributed stochastic neighbour embedding (van der Maaten and Hinton, 2008; Poličar et al., 2024).

    Parameters
    ----------
    n_components
        Dimensions of the map: 1, 2 or 3.
    perplexity
        Effective number of neighbours; 3 x perplexity neighbours are used.
    early_exaggeration
        Factor on the attraction in the first 250 iterations; "auto" is 12.
    max_iter
        All iterations, the early ones included.
    learning_rate
        "auto" is n / exaggeration, at least 200 (Belkina et al., 2019).
    initialization
        "auto" (PCA where there are rows, else spectral), "pca", "spectral", "random", or an array
        ``[n, n_components]``.
    metric
        "euclidean", "cosine" or a fitted MahalanobisMetric; ignored for a graph, which has one.
    neighbors
        The ``index`` of :func:`fastclust.knn_graph`.
    backend
        "auto" or "opentsne"; "cpu" and "gpu" are refused in this version.
    callbacks
        A function ``(iteration, divergence, points)``, called every 10 iterations; if it returns true, the work stops.
    random_state
        Seed; the same seed gives the same bits.
    verbose
        Print a line at the end.

    Attributes
    ----------
    embedding_
        float32 ``[n, n_components]``.
    kl_divergence_
        At the end, without exaggeration.
    n_iter_, backend_, initialization_, n_features_in_
        Iterations, and what ran.
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        perplexity: float = 30,
        early_exaggeration: float | str = "auto",
        max_iter: int = 750,
        learning_rate: float | str = "auto",
        initialization: Any = "auto",
        metric: Any = "euclidean",
        neighbors: str = "auto",
        backend: str = "auto",
        callbacks: Any = None,
        random_state: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.perplexity = perplexity
        self.early_exaggeration = early_exaggeration
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.initialization = initialization
        self.metric = metric
        self.neighbors = neighbors
        self.backend = backend
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Draw the map of the rows ``X`` ``[n, d]`` or of a :class:`~fastclust.NeighborGraph`.

        Raises
        ------
        InputError, InputTypeError
            NaN or Inf, wrong shapes, a perplexity that needs more neighbours than there are; before any work.
        BackendError
            The backend asked for does not exist in this version.
        OperationCancelledError
            A progress listener asked to stop.
        """
        self._check_parameters()
        graph = self._graph_of(X)
        affinities = affinities_of(graph, self.perplexity)
        start, self.initialization_ = start_of(
            self.initialization, graph, affinities, self.n_components, self.random_state
        )
        early = _EARLY if self.early_exaggeration == "auto" else float(self.early_exaggeration)
        first = min(_EARLY_ITERATIONS, self.max_iter)
        points, divergence = optimize(
            affinities,
            start,
            schedule=[(first, early, 0.5), (self.max_iter - first, 1.0, 0.8)],
            learning_rate=self.learning_rate,
            seed=self.random_state,
            callback=self.callbacks,
        )
        self.embedding_ = points.astype(np.float32)
        self.kl_divergence_ = divergence
        self.n_iter_ = self.max_iter
        self.backend_ = "opentsne"
        self._source, self._graph_metric = graph.source, graph.metric
        self.n_features_in_ = None if graph.source is None else graph.source.shape[1]
        if self.verbose:
            print(f"TSNE: {self.n_iter_} iterations, KL divergence {divergence:.4f}")  # noqa: T201 - asked for
        return self

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Draw the map and return its points."""
        points: NDArray[np.float32] = self.fit(X, y).embedding_
        return points

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Place new rows ``[m, d]`` on the fitted map, which does not move: at the medoid of their 10 neighbours.

        Raises
        ------
        PreconditionError
            The map was fitted from a graph without its rows.
        """
        check_is_fitted(self, "embedding_")
        if self._source is None:
            raise PreconditionError("The map was fitted from a graph without its rows: new rows cannot be placed.")
        k = min(_PLACED_BY, len(self._source))
        metric = self.metric if self._graph_metric == "mahalanobis" else self._graph_metric
        found = NeighborIndex(metric, self.neighbors).fit(self._source).kneighbors(X, k, return_distance=False)
        near = self.embedding_[found].astype(np.float64)  # [m, k, dimensions]
        apart = np.linalg.norm(near[:, :, None] - near[:, None], axis=3).sum(axis=2)
        placed: NDArray[np.float32] = self.embedding_[found[np.arange(len(found)), apart.argmin(axis=1)]]
        return placed

    def _graph_of(self, X: Any) -> NeighborGraph:
        wanted = int(3 * self.perplexity)
        if isinstance(X, NeighborGraph):
            k = min(wanted, X.n_rows - 1)
            self._check_perplexity(X.n_rows)
            return X.head(k)
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        self._check_perplexity(n)
        return knn_graph(X, min(wanted, n - 1), self.metric, self.neighbors)

    def _check_perplexity(self, n: int) -> None:
        if n < 4:
            raise InputError("X", f"{n} rows", "at least 4 rows to draw a map of")
        if self.perplexity > (n - 1) / 3:
            raise InputError(
                "perplexity", self.perplexity, f"at most {(n - 1) / 3:.4g}, a third of the other rows", "Lower it."
            )

    def _check_parameters(self) -> None:
        if self.backend not in _BACKENDS:
            reason = _NOT_YET.get(self.backend, "there is no such backend")
            raise BackendError(f"tsne: backend={self.backend!r}: {reason}. Allowed: {', '.join(_BACKENDS)}.")
        if self.n_components not in (1, 2, 3):
            raise InputError("n_components", repr(self.n_components), "1, 2 or 3")
        if not isinstance(self.perplexity, numbers.Real) or not 1 <= self.perplexity < float("inf"):
            raise InputError("perplexity", repr(self.perplexity), "a number of at least 1")
        if not isinstance(self.max_iter, numbers.Integral) or self.max_iter < 0:
            raise InputError("max_iter", repr(self.max_iter), "an integer of at least 0")
        for name in ("early_exaggeration", "learning_rate"):
            value = getattr(self, name)
            if value != "auto" and (not isinstance(value, numbers.Real) or not value > 0):
                raise InputError(name, repr(value), '"auto" or a number above 0')
