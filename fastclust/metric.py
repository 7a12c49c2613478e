"""Mahalanobis distances and metrics: one linear map that k-means, neighbours and distances share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fastclust.artifacts import load_model, save_model
from fastclust.errors import InputError, InputTypeError
from fastclust_kernels import arrays, checks
from fastclust_kernels import mahalanobis as kernels

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["MahalanobisMetric", "mahalanobis", "mahalanobis_to_components"]

_Metric = TypeVar("_Metric", bound="MahalanobisMetric")
_ESTIMATORS = ("empirical", "ledoit_wolf")
_KIND = "mahalanobis_metric"


def mahalanobis(
    X: Any,
    Y: Any = None,
    *,
    VI: Any = None,
    cov: Any = None,
    squared: bool = False,
    backend: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the Mahalanobis distances of all pairs, in the shape of SciPy's ``cdist``.

    Parameters
    ----------
    X, Y
        ``[n, d]`` and ``[m, d]``; ``Y=None`` takes ``X``. float32 and float64 are kept; other numbers become float64.
    VI
        Precision matrix (inverse covariance) ``[d, d]``.
    cov
        Covariance ``[d, d]``; may be singular: directions without variance count for nothing. With neither, the
        covariance of the rows of ``X`` and ``Y`` together is taken, as SciPy does.
    squared
        Leave the root out.
    backend
        "auto", "numba" or "reference".
    out
        ``[n, m]`` to write into.

    Returns
    -------
    array
        ``[n, m]``, in kind with ``X``.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or dtypes, NaN or Inf, both ``VI`` and ``cov``, a matrix that is not positive semi-definite.
    BackendError
        The backend asked for cannot run this.

    References
    ----------
    P. C. Mahalanobis, "On the generalised distance in statistics", 1936.
    """
    if VI is not None and cov is not None:
        raise InputError("cov", "both VI and cov", "one of them")
    others = X if Y is None else Y
    if VI is not None:
        factor = kernels.factor_of_precision(arrays.to_numpy(VI, "VI"))
    elif cov is not None:
        factor = kernels.factor_of_covariance(arrays.to_numpy(cov, "cov"))
    else:
        parts = [checks.check_matrix(arrays.to_numpy(X, "X"), "X")]
        if Y is not None:
            parts.append(checks.check_matrix(arrays.to_numpy(Y, "Y"), "Y"))
            checks.check_same_width(parts[0], parts[1], ("X", "Y"))
        rows = np.vstack(parts).astype(np.float64, copy=False)
        factor = kernels.factor_of_covariance(_empirical(rows, ddof=1))
    return kernels.pairs(X, others, factor, squared=squared, backend=backend, out=out)[0]


def mahalanobis_to_components(X: Any, means: Any, covariances: Any, *, squared: bool = False) -> Any:
    """Compute the distance of each row to k components with a covariance each.

    Parameters
    ----------
    X
        ``[n, d]``.
    means
        ``[k, d]``.
    covariances
        ``[k, d, d]``; may be singular.
    squared
        Leave the root out.

    Returns
    -------
    array
        ``[n, k]``, in kind with ``X``.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes, NaN or Inf, a matrix that is not positive semi-definite.
    """
    stack = np.asarray(arrays.to_numpy(covariances, "covariances"), np.float64)
    if stack.ndim != 3:
        raise InputError("covariances", f"shape {stack.shape}", "[k, d, d]")
    factors = [kernels.factor_of_covariance(covariance) for covariance in stack]
    padded = np.zeros_like(stack)
    for number, factor in enumerate(factors):
        padded[number, :, : factor.shape[1]] = factor
    return kernels.to_components(X, means, padded, squared=squared)


def _empirical(rows: NDArray[np.float64], ddof: int) -> NDArray[np.float64]:
    if len(rows) <= ddof:
        raise InputError("X", f"{len(rows)} rows", f"at least {ddof + 1} rows to estimate a covariance from")
    moved = rows - rows.mean(axis=0)
    covariance: NDArray[np.float64] = moved.T @ moved / (len(rows) - ddof)
    return covariance


class MahalanobisMetric(TransformerMixin, BaseEstimator):
    """A Mahalanobis metric as a linear map: ``d(x, y) = |components_ (x - y)|``.

    Parameters
    ----------
    estimator
        How :meth:`fit` estimates the covariance: "empirical", or "ledoit_wolf" (shrunk towards a multiple of the
        identity, for few rows in many columns; Ledoit and Wolf, 2004).

    Attributes
    ----------
    components_
        float64 ``[rank, d]``: the map.
    mean_
        float64 ``[d]``: subtracted by :meth:`transform`; zeros unless fitted from rows.
    rank_
        Rank of the metric; below d for a singular covariance.
    n_features_in_
        d.
    """

    def __init__(self, estimator: str = "empirical") -> None:
        self.estimator = estimator

    @classmethod
    def from_covariance(cls, covariance: Any) -> Self:
        """Make a metric from a covariance ``[d, d]``, which may be singular. Raises InputError."""
        return _become(cls(), kernels.factor_of_covariance(arrays.to_numpy(covariance, "covariance")))

    @classmethod
    def from_precision(cls, precision: Any) -> Self:
        """Make a metric from a precision matrix ``[d, d]`` (inverse covariance). Raises InputError."""
        return _become(cls(), kernels.factor_of_precision(arrays.to_numpy(precision, "precision")))

    @classmethod
    def from_factor(cls, factor: Any) -> Self:
        """Make a metric from W ``[d, r]``: the precision matrix is ``W W^T``. Raises InputError."""
        matrix = checks.check_matrix(arrays.to_numpy(factor, "factor"), "factor")
        return _become(cls(), matrix.astype(np.float64))

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Estimate the covariance of the rows ``X`` ``[n, d]``. Raises InputError, InputTypeError."""
        if self.estimator not in _ESTIMATORS:
            raise InputError("estimator", repr(self.estimator), ", ".join(_ESTIMATORS))
        rows = checks.check_matrix(arrays.to_numpy(X, "X"), "X").astype(np.float64)
        if self.estimator == "empirical":
            covariance = _empirical(rows, ddof=1)
        else:
            from sklearn.covariance import ledoit_wolf

            covariance, self.shrinkage_ = ledoit_wolf(rows)
        return _become(self, kernels.factor_of_covariance(covariance), rows.mean(axis=0))

    def transform(self, X: Any) -> Any:
        """Map rows to the space in which the metric is Euclidean: ``[n, r]``, in kind and dtype with ``X``."""
        rows = self._checked(X, "X")
        mapped = (rows.astype(np.float64) - self.mean_) @ self.components_.T
        return arrays.like(X)(mapped.astype(rows.dtype))

    def pairwise(self, X: Any, Y: Any = None, *, squared: bool = False) -> Any:
        """Compute the distances of all pairs: ``[n, m]``."""
        self._checked(X, "X")
        return kernels.pairs(X, X if Y is None else Y, self.components_.T, squared=squared)[0]

    def pair_distance(self, pairs: Any) -> Any:
        """Compute the distance within each pair of ``pairs`` ``[p, 2, d]``: ``[p]``."""
        check_is_fitted(self, "components_")
        both = arrays.to_numpy(pairs, "pairs")
        if both.ndim != 3 or both.shape[1:] != (2, self.n_features_in_):
            raise InputError("pairs", f"shape {both.shape}", f"[p, 2, {self.n_features_in_}]")
        if both.dtype.kind not in "fiub":
            raise InputTypeError("pairs", f"dtype {both.dtype}", "numbers")
        checks.check_finite(both, "pairs")
        difference = both[:, 0].astype(np.float64) - both[:, 1].astype(np.float64)
        return arrays.like(pairs)(np.linalg.norm(difference @ self.components_.T, axis=1))

    def get_metric(self) -> Callable[[Any, Any], float]:
        """Return a function of two vectors, for libraries that take one."""
        check_is_fitted(self, "components_")
        components = self.components_.copy()

        def distance(x: Any, y: Any) -> float:
            return float(np.linalg.norm(components @ (np.asarray(x, np.float64) - np.asarray(y, np.float64))))

        return distance

    def get_mahalanobis_matrix(self) -> NDArray[np.float64]:
        """Return the precision matrix M ``[d, d]``."""
        check_is_fitted(self, "components_")
        matrix: NDArray[np.float64] = self.components_.T @ self.components_
        return matrix

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the metric as one safetensors file."""
        check_is_fitted(self, "components_")
        tensors = {"components": self.components_, "mean": self.mean_}
        save_model(path, _KIND, {"estimator": self.estimator}, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote. Raises NotFoundError, DataError."""
        params, tensors = load_model(path, _KIND)
        return _become(cls(params["estimator"]), tensors["components"].T, tensors["mean"])

    def _checked(self, X: Any, field: str) -> NDArray[Any]:
        check_is_fitted(self, "components_")
        rows = checks.check_matrix(arrays.to_numpy(X, field), field)
        if rows.shape[1] != self.n_features_in_:
            raise InputError(field, f"{rows.shape[1]} columns", f"{self.n_features_in_}, as in fit")
        return rows


def _become(metric: _Metric, factor: NDArray[np.float64], mean: NDArray[np.float64] | None = None) -> _Metric:
    """Give ``metric`` its fitted attributes."""
    metric.components_ = np.ascontiguousarray(factor.T)
    metric.n_features_in_ = factor.shape[0]
    metric.rank_ = int(np.linalg.matrix_rank(factor))
    metric.mean_ = np.zeros(factor.shape[0]) if mean is None else mean
    return metric
