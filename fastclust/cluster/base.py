"""What every k-means estimator has: centres, and what can be asked of them."""

from __future__ import annotations

import numbers
import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Self

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fastclust.artifacts import load_model, save_model
from fastclust.cluster.inputs import check_rows, check_weights, check_width
from fastclust.cluster.rows import rows_of
from fastclust.cluster.spaces import Space, space_of
from fastclust.cluster.streaming import StreamedRows
from fastclust.cluster.writing import assignment
from fastclust.data import open_rows
from fastclust.data.limits import is_streamed
from fastclust.errors import InputError
from fastclust_kernels.assign.fixed import FixedCenters

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from fastclust.cluster.rows import Rows

__all__ = ["Centers", "check_integer", "check_number"]


class Centers(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Base of the estimators: prediction, distances, score, file and checks; fitting is theirs."""

    #: What a saved model is called, and the runs of ``n_init="auto"`` from random starts.
    _kind: ClassVar[str] = "kmeans"
    _random_runs: ClassVar[int] = 10

    n_clusters: int
    metric: Any
    backend: str
    init: Any
    n_init: int | str
    _inner_centers: NDArray[Any]

    def __sklearn_tags__(self) -> Any:
        """Say that CSR rows are taken."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def predict(self, X: Any) -> NDArray[np.int32]:
        """Return the nearest centre of each row of ``X`` ``[n, d]``: int32 ``[n]``.

        Raises InputError, InputTypeError for rows that are not as those of the fit.
        """
        labels, _, _ = self._enter(X).assign(self._inner_centers, self.backend)
        return labels

    def predict_checked(self, rows: NDArray[Any]) -> NDArray[np.int32]:
        """Return what :meth:`predict` does, for rows ``[n, d]`` that the caller has checked.

        They are C-contiguous, float32 or float64, finite and as wide as the fitted rows: nothing of that is looked at
        again, which would take longer than the answer where rows are few. Raises BackendError.
        """
        inside = space_of(self.metric, rows.shape[1]).enter(rows)
        if self.backend not in ("auto", "numba"):
            return rows_of(inside).assign(self._inner_centers, self.backend)[0]
        fixed = self.__dict__.get("_fixed")
        if fixed is None or fixed.centers is not self._inner_centers:
            fixed = self._fixed = FixedCenters(self._inner_centers)
        return fixed.labels(inside)

    def __getstate__(self) -> dict[str, Any]:
        """Without what :meth:`predict_checked` prepared."""
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_fixed", None)
        return state

    def predict_to(
        self, X: Any, folder: str | os.PathLike[str], *, labels: NDArray[np.integer] | None = None
    ) -> list[Path]:
        """Write the label and the distance to its centre of each row of ``X``, which may be larger than memory.

        Parquet files with the columns ``row``, ``label`` (int32) and ``distance`` (float64, in the metric's space), one
        or more for each file of the source. Each appears whole; called again after a kill, what is missing is written.
        ``labels`` are those of ``X`` where they are known, such as ``labels_`` of the fit on it: integers ``[n]`` below
        the number of centres. Raises PreconditionError for a folder with other results or labels, InputError,
        InputTypeError.
        """
        source = open_rows(X)
        centers, space, backend = self.inner(source.shape[1])
        return assignment(source, folder, centers=centers, space=space, backend=backend, labels=labels).write()

    def inner(self, width: int) -> tuple[NDArray[Any], Space, str]:
        """Return the centres in their space, the space, and the backend, for rows of ``width`` columns."""
        check_is_fitted(self)
        if width != self.n_features_in_:
            raise InputError("X", f"{width} columns", f"{self.n_features_in_}, as in fit")
        return self._inner_centers, space_of(self.metric, width), self.backend

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> NDArray[np.int32]:
        """Cluster the rows ``X`` ``[n, d]`` and return their labels, int32 ``[n]``.

        Raises what ``fit`` raises, InputError first.
        """
        labels: NDArray[np.int32] = self.fit(X, y, sample_weight=sample_weight).labels_
        return labels

    def transform(self, X: Any) -> NDArray[Any]:
        """Return the distance of each row to each centre, in the metric: ``[n, n_clusters]``, in the rows' dtype.

        Raises InputError, InputTypeError for rows that are not as those of the fit.
        """
        return self._enter(X).all(self._inner_centers)

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> NDArray[Any]:
        """Cluster the rows ``X`` ``[n, d]``; return their distances to the centres, ``[n, n_clusters]`` in their dtype.

        Raises what ``fit`` raises, InputError first.
        """
        fitted: Centers = self.fit(X, y, sample_weight=sample_weight)
        return fitted.transform(X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:  # noqa: ARG002 - scikit-learn's
        """Return the negative inertia of the rows ``X`` ``[n, d]``, weighted by ``sample_weight`` ``[n]``.

        Raises InputError, InputTypeError for rows that are not as those of the fit.
        """
        rows = self._enter(X)
        _, distances, _ = rows.assign(self._inner_centers, self.backend)
        weights = check_weights(sample_weight, rows.shape[0])
        return -float((distances if weights is None else distances * weights).sum())

    def save(self, path: str | os.PathLike[str], *, labels: bool = True) -> None:
        """Write the fitted model as one safetensors file, with the labels of the rows fitted unless told otherwise."""
        check_is_fitted(self)
        tensors = {"cluster_centers": self.cluster_centers_, "inner_centers": self._inner_centers}
        if labels and hasattr(self, "labels_"):
            tensors["labels"] = self.labels_
        space = space_of(self.metric, self.n_features_in_)
        params = {
            "n_clusters": self.n_clusters,
            "metric": space.name,
            "inertia": getattr(self, "inertia_", None),
            "n_iter": getattr(self, "n_iter_", None),
            "backend": self.backend_,
        }
        save_model(path, self._kind, params, tensors | space.tensors())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote; it predicts as before. Raises NotFoundError, DataError."""
        params, tensors = load_model(path, cls._kind)
        model = cls(n_clusters=params["n_clusters"], metric=Space.metric_from(params["metric"], tensors))
        model.cluster_centers_ = tensors["cluster_centers"]
        model._inner_centers = tensors["inner_centers"]
        if "labels" in tensors:
            model.labels_ = tensors["labels"]
        model.inertia_, model.n_iter_, model.backend_ = params["inertia"], params["n_iter"], params["backend"]
        model.n_features_in_ = model.cluster_centers_.shape[1]
        model._n_features_out = len(model.cluster_centers_)
        return model

    def _enter(self, X: Any) -> Rows:
        """Rows in the space of the fitted centres."""
        check_is_fitted(self)
        return self._inside(X, reset=False)[0]

    def _inside(self, X: Any, *, reset: bool, folder: Path | None = None) -> tuple[Rows, Space]:
        """Checked rows in the space of the metric; rows that are too many for memory stay in their files."""
        if is_streamed(X):
            check_width(self, X, reset=reset)
            space = space_of(self.metric, X.shape[1])
            return StreamedRows(X, space, folder), space
        matrix = check_rows(self, X, reset=reset)
        space = space_of(self.metric, matrix.shape[1])
        return rows_of(space.enter(matrix)), space

    def _check_count(self, n_rows: int) -> None:
        if self.n_clusters > n_rows:
            raise InputError(
                "n_clusters",
                self.n_clusters,
                f"1..{n_rows}, the number of rows",
                f"n_samples={n_rows} should be >= n_clusters={self.n_clusters}",
            )

    def _runs(self) -> int:
        """How many starts are tried."""
        drawn = isinstance(self.init, str) or callable(self.init)
        if self.n_init == "auto":
            many = callable(self.init) or (isinstance(self.init, str) and self.init == "random")
            return self._random_runs if many else 1
        if not drawn and int(self.n_init) > 1:
            warnings.warn(
                f"Explicit initial center position passed: performing only one init in {type(self).__name__} instead "
                f"of n_init={self.n_init}.",
                RuntimeWarning,
                stacklevel=4,
            )
        return int(self.n_init) if drawn else 1


def check_integer(name: str, value: Any, least: int = 1) -> None:
    """Raise InputError unless ``value`` is an integer of at least ``least``."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise InputError(name, repr(value), f"an integer of at least {least}")


def check_number(name: str, value: Any) -> None:
    """Raise InputError unless ``value`` is a number of at least 0."""
    if not isinstance(value, numbers.Real) or not float(value) >= 0:
        raise InputError(name, repr(value), "a number of at least 0")
