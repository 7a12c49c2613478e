"""Exact k-means."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastclust.artifacts import load_model, save_model
from fastclust.cluster.inputs import check_rows, check_weights
from fastclust.cluster.lloyd import Fit, lloyd
from fastclust.cluster.seeding import initial_centers
from fastclust.cluster.spaces import Space, space_of
from fastclust.errors import BackendError, InputError
from fastclust_kernels.assign import assign
from fastclust_kernels.mahalanobis import pairs
from fastclust_kernels.update import update

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["KMeans"]

_KIND = "kmeans"
#: Whether an algorithm keeps bounds; None where they are worth it.
_BOUNDS = {"auto": None, "lloyd": False, "elkan": True}


class KMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """k-means clustering by Lloyd's iteration, with scikit-learn's parameters and attributes.

    Parameters
    ----------
    n_clusters
        Number of clusters, at most the number of rows.
    init
        "k-means++" (greedy), "random" (distinct rows), an array ``[n_clusters, d]``, or a callable
        ``(X, n_clusters, random_state=)``.
    n_init
        Runs from different starts, of which the one with the least inertia counts; "auto" is 1 for k-means++ and
        arrays, else 10.
    max_iter
        Most iterations of a run.
    tol
        Centres that move by less than this, squared, relative to the mean variance of the columns, have converged.
    metric
        "euclidean", "cosine" (spherical k-means: rows and centres are brought to length one), or a fitted
        MahalanobisMetric.
    algorithm
        "lloyd" computes every distance. "elkan" keeps bounds between iterations and leaves out what they decide; here
        they are Yinyang's, on groups of 16 centres, and take ``n_clusters / 4`` bytes a row. The labels are the same.
        "auto" keeps bounds where they are worth it; ``algorithm_`` says what ran.
    arithmetic
        "exact": the only one so far.
    backend
        "auto", "numba" or "reference".
    random_state
        Seed; the same seed gives the same bits for any number of threads.
    verbose
        Print one line a run.
    copy_x
        Of scikit-learn's signature; the input is never changed.

    Attributes
    ----------
    cluster_centers_
        ``[n_clusters, d]``, in the dtype of the rows.
    labels_
        int32 ``[n]``; they belong to ``cluster_centers_``.
    inertia_
        Weighted sum of squared distances to the nearest centre, in the metric.
    n_iter_, n_features_in_, backend_, algorithm_
        Iterations of the best run, d, and the backend and algorithm that ran.

    References
    ----------
    S. Lloyd, "Least squares quantization in PCM", 1982. D. Arthur and S. Vassilvitskii, "k-means++", 2007. Y. Ding et
    al., "Yinyang K-Means", ICML 2015.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        metric: Any = "euclidean",
        algorithm: str = "auto",
        arithmetic: str = "exact",
        backend: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        copy_x: bool = True,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.metric = metric
        self.algorithm = algorithm
        self.arithmetic = arithmetic
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose
        self.copy_x = copy_x

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Cluster the rows ``X`` ``[n, d]``, weighted by ``sample_weight`` ``[n]``.

        Raises
        ------
        InputError, InputTypeError
            More clusters than rows, NaN or Inf, wrong shapes, dtypes or parameters; before any work.
        BackendError
            The backend or arithmetic asked for cannot run this.
        OperationCancelledError
            A progress listener asked to stop.
        """
        self._check_parameters()
        rows = check_rows(self, X, reset=True)
        if self.n_clusters > len(rows):
            raise InputError(
                "n_clusters", self.n_clusters, f"1..{len(rows)}, the number of rows (n_samples={len(rows)})"
            )
        weights = check_weights(sample_weight, len(rows))
        space = space_of(self.metric, rows.shape[1])
        inside = space.enter(rows)
        best = self._best_run(inside, weights, space)
        self.backend_, self.algorithm_ = best.backend, best.algorithm
        self._inner_centers = best.centers
        self.labels_, self.inertia_, self.n_iter_ = best.labels, best.inertia, best.n_iter
        self.cluster_centers_ = self._outer_centers(rows, best, weights, space)
        self._n_features_out = len(best.centers)
        if len(np.unique(best.labels)) < self.n_clusters:
            _warn_of_duplicates(len(np.unique(best.labels)), self.n_clusters)
        return self

    def predict(self, X: Any) -> NDArray[np.int32]:
        """Return the nearest centre of each row: int32 ``[n]``."""
        check_is_fitted(self)
        inside = space_of(self.metric, self.n_features_in_).enter(check_rows(self, X, reset=False))
        labels: NDArray[np.int32] = assign(inside, self._inner_centers, backend=self.backend, check_finite=False).labels
        return labels

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> NDArray[np.int32]:
        """Cluster the rows and return their labels."""
        labels: NDArray[np.int32] = self.fit(X, y, sample_weight=sample_weight).labels_
        return labels

    def transform(self, X: Any) -> NDArray[Any]:
        """Return the distance of each row to each centre, in the metric: ``[n, n_clusters]``."""
        check_is_fitted(self)
        inside = space_of(self.metric, self.n_features_in_).enter(check_rows(self, X, reset=False))
        distances: NDArray[Any] = pairs(inside, self._inner_centers, np.eye(inside.shape[1]))[0]
        return distances

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> NDArray[Any]:
        """Cluster the rows and return their distances to the centres."""
        return self.fit(X, y, sample_weight=sample_weight).transform(X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:  # noqa: ARG002 - scikit-learn's
        """Return the negative inertia of the rows."""
        check_is_fitted(self)
        rows = check_rows(self, X, reset=False)
        inside = space_of(self.metric, self.n_features_in_).enter(rows)
        distances = assign(inside, self._inner_centers, backend=self.backend, check_finite=False).distances
        weights = check_weights(sample_weight, len(rows))
        return -float((distances if weights is None else distances * weights).sum())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model as one safetensors file."""
        check_is_fitted(self)
        tensors = {
            "cluster_centers": self.cluster_centers_,
            "inner_centers": self._inner_centers,
            "labels": self.labels_,
        }
        space = space_of(self.metric, self.n_features_in_)
        params = {
            "n_clusters": self.n_clusters,
            "metric": space.name,
            "inertia": self.inertia_,
            "n_iter": self.n_iter_,
            "backend": self.backend_,
        }
        save_model(path, _KIND, params, tensors | space.tensors())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote; it predicts as before. Raises NotFoundError, DataError."""
        params, tensors = load_model(path, _KIND)
        model = cls(params["n_clusters"], metric=Space.metric_from(params["metric"], tensors))
        model.cluster_centers_ = tensors["cluster_centers"]
        model._inner_centers = tensors["inner_centers"]
        model.labels_ = tensors["labels"]
        model.inertia_, model.n_iter_, model.backend_ = params["inertia"], params["n_iter"], params["backend"]
        model.n_features_in_ = model.cluster_centers_.shape[1]
        model._n_features_out = len(model.cluster_centers_)
        return model

    def _best_run(self, X: NDArray[Any], weights: NDArray[np.float64] | None, space: Space) -> Fit:
        random = check_random_state(self.random_state)
        runs = self._runs()
        each = np.ones(len(X)) if weights is None else weights
        tol = self.tol * float(np.mean(np.var(X, axis=0, dtype=np.float64))) if self.tol else 0.0
        best: Fit | None = None
        for run in range(runs):
            start = space.project(initial_centers(self.init, X, self.n_clusters, each, random))
            found = lloyd(
                X,
                start,
                weights=weights,
                max_iter=self.max_iter,
                tol=tol,
                cosine=space.name == "cosine",
                backend=self.backend,
                bounds=_BOUNDS[self.algorithm],
                run=(run, runs),
            )
            if self.verbose:
                print(f"KMeans run {run + 1} of {runs}: inertia {found.inertia:.6g}, {found.n_iter} iterations")  # noqa: T201
            if best is None or found.inertia < best.inertia:
                best = found
        assert best is not None
        return best

    def _runs(self) -> int:
        if self.n_init == "auto":
            return 10 if callable(self.init) or (isinstance(self.init, str) and self.init == "random") else 1
        if not isinstance(self.init, str) and not callable(self.init):
            return 1
        return int(self.n_init)

    def _outer_centers(
        self, rows: NDArray[Any], fit: Fit, weights: NDArray[np.float64] | None, space: Space
    ) -> NDArray[Any]:
        """Centres among the rows as they came: their weighted means, where the space is another."""
        if space.name != "mahalanobis":
            return fit.centers
        sums, total, _ = update(rows, fit.labels, len(fit.centers), weights=weights)
        means: NDArray[Any] = (sums / np.maximum(total, np.finfo(np.float64).tiny)[:, None]).astype(rows.dtype)
        return means

    def _check_parameters(self) -> None:
        for name, least in (("n_clusters", 1), ("max_iter", 1)):
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
                raise InputError(name, repr(value), f"an integer of at least {least}")
        if self.n_init != "auto" and (not isinstance(self.n_init, numbers.Integral) or self.n_init < 1):
            raise InputError("n_init", repr(self.n_init), '"auto" or an integer of at least 1')
        if not isinstance(self.tol, numbers.Real) or not self.tol >= 0:
            raise InputError("tol", repr(self.tol), "a number of at least 0")
        if self.algorithm not in _BOUNDS:
            raise InputError("algorithm", repr(self.algorithm), ", ".join(_BOUNDS))
        if self.arithmetic != "exact":
            raise BackendError(f"arithmetic={self.arithmetic!r}: no backend at hand does this. Allowed: exact.")


def _warn_of_duplicates(found: int, wanted: int) -> None:
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    warnings.warn(
        f"Number of distinct clusters ({found}) found smaller than n_clusters ({wanted}). "
        "Possibly due to duplicate points in X.",
        ConvergenceWarning,
        stacklevel=3,
    )
