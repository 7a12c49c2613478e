"""A Mahalanobis metric, given or estimated from rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fastclust.artifacts import load_model, save_model
from fastclust.data import RowSource
from fastclust.data.mapping import Mapped, mapping
from fastclust.errors import DataError, InputError
from fastclust.metric.covariance import empirical, of_source
from fastclust.metric.searching import Distances
from fastclust_kernels import arrays, checks
from fastclust_kernels import mahalanobis as kernels

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["MahalanobisMetric", "become"]

_Metric = TypeVar("_Metric", bound="MahalanobisMetric")
_ESTIMATORS = ("empirical", "ledoit_wolf")
_KIND = "mahalanobis_metric"
_CLASS = "class"


class MahalanobisMetric(Distances, TransformerMixin, BaseEstimator):
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
        return become(cls(), kernels.factor_of_covariance(arrays.to_numpy(covariance, "covariance")))

    @classmethod
    def from_precision(cls, precision: Any) -> Self:
        """Make a metric from a precision matrix ``[d, d]`` (inverse covariance). Raises InputError."""
        return become(cls(), kernels.factor_of_precision(arrays.to_numpy(precision, "precision")))

    @classmethod
    def from_factor(cls, factor: Any) -> Self:
        """Make a metric from W ``[d, r]``: the precision matrix is ``W W^T``. Raises InputError."""
        matrix = checks.check_matrix(arrays.to_numpy(factor, "factor"), "factor")
        return become(cls(), matrix.astype(np.float64))

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Estimate the covariance of the rows ``X`` ``[n, d]``. Raises InputError, InputTypeError.

        Files of :func:`fastclust.open_rows` are read twice, in blocks, and may be larger than memory.
        """
        if self.estimator not in _ESTIMATORS:
            raise InputError("estimator", repr(self.estimator), ", ".join(_ESTIMATORS))
        if isinstance(X, RowSource) and not X.in_memory:
            covariance, mean, shrinkage = of_source(X, shrunk=self.estimator == "ledoit_wolf")
            if shrinkage is not None:
                self.shrinkage_ = shrinkage
            return become(self, kernels.factor_of_covariance(covariance), mean)
        rows = checks.check_matrix(arrays.to_numpy(X, "X"), "X").astype(np.float64)
        if self.estimator == "empirical":
            covariance = empirical(rows, ddof=1)
        else:
            from sklearn.covariance import ledoit_wolf

            covariance, self.shrinkage_ = ledoit_wolf(rows)
        return become(self, kernels.factor_of_covariance(covariance), rows.mean(axis=0))

    def transform(self, X: Any) -> Any:
        """Map rows to the space in which the metric is Euclidean: ``[n, r]``, in kind and dtype with ``X``.

        ``X`` is ``[n, d]``. Raises InputError, InputTypeError.
        """
        rows = self._checked(X, "X")
        mapped = (rows.astype(np.float64) - self.mean_) @ self.components_.T
        return arrays.like(X)(mapped.astype(rows.dtype))

    def transform_to(self, X: Any, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the mapped rows of ``X`` ``[n, d]``, which may exceed memory: Parquet files of ``row`` and ``mapped``.

        Each file appears whole; called again after a kill, what is missing is written. Raises PreconditionError for a
        folder with other results.
        """
        return mapping(X, folder, *self.mapped()).write()

    def mapped(self) -> Mapped:
        """Return what :meth:`transform_to` writes, for those who write it elsewhere."""
        check_is_fitted(self, "components_")
        return Mapped(self.transform, "mapped", [self.components_, self.mean_])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the metric as one safetensors file."""
        check_is_fitted(self, "components_")
        params = {name: value for name, value in self.get_params().items() if _plain(value)}
        tensors = {"components": self.components_, "mean": self.mean_}
        save_model(path, _KIND, params | {_CLASS: type(self).__name__}, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote; MahalanobisMetric.load reads any metric, as a plain one.

        Raises NotFoundError, DataError.
        """
        params, tensors = load_model(path, _KIND)
        name = params.pop(_CLASS, MahalanobisMetric.__name__)
        if name == cls.__name__:
            metric = cls(**params)
        elif cls is MahalanobisMetric:
            metric = cls()
        else:
            raise DataError(f"{path}: holds a metric of {name}; needed: {cls.__name__}.")
        return become(metric, tensors["components"].T, tensors["mean"])


def _plain(value: Any) -> bool:
    """Whether JSON brings a parameter back as it was."""
    return value is None or isinstance(value, (bool, int, float, str))


def become(metric: _Metric, factor: NDArray[np.float64], mean: NDArray[np.float64] | None = None) -> _Metric:
    """Give ``metric`` its fitted attributes."""
    metric.components_ = np.ascontiguousarray(factor.T)
    metric.n_features_in_ = factor.shape[0]
    metric.rank_ = int(np.linalg.matrix_rank(factor))
    metric.mean_ = np.zeros(factor.shape[0]) if mean is None else mean
    return metric
