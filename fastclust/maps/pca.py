"""Principal components as an estimator, of rows that may be larger than memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fastclust.artifacts import load_model, save_model
from fastclust.data import open_rows
from fastclust.data.mapping import Mapped, mapping
from fastclust.errors import InputError
from fastclust.maps.components import principal_components
from fastclust_kernels import arrays, checks

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["PCA"]

_KIND = "pca"


class PCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The directions in which rows spread most (Pearson, 1901), found block by block.

    Parameters
    ----------
    n_components
        How many, at most the smaller of rows and columns.
    random_state
        Seed of the subspace iteration, which takes the place of the covariance beyond 1024 columns; an integer or None.

    Attributes
    ----------
    components_
        float64 ``[n_components, d]``, orthonormal; the largest entry of each is positive.
    mean_
        float64 ``[d]``.
    n_features_in_
        d.
    """

    def __init__(self, n_components: int = 50, *, random_state: int | None = None) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Find the components of the rows ``X`` ``[n, d]``; files of :func:`fastclust.open_rows` are read in blocks.

        Raises InputError, InputTypeError.
        """
        source = open_rows(X)
        most = min(source.shape)
        if isinstance(self.n_components, bool) or not 1 <= self.n_components <= most:
            raise InputError("n_components", self.n_components, f"1..{most}, the smaller of rows and columns")
        found = principal_components(source, self.n_components, self.random_state)
        return self._become(found.mean, found.axes)

    def _become(self, mean: NDArray[np.float64], axes: NDArray[np.float64]) -> Self:
        self.mean_, self.components_ = mean, np.ascontiguousarray(axes.T)
        self.n_features_in_ = len(mean)
        self._n_features_out = len(self.components_)
        return self

    def transform(self, X: Any) -> Any:
        """Return the scores ``[n, n_components]`` of rows, in kind and dtype with ``X``. Raises InputError."""
        check_is_fitted(self)
        rows = checks.check_matrix(arrays.to_numpy(X, "X"), "X")
        if rows.shape[1] != self.n_features_in_:
            raise InputError("X", f"{rows.shape[1]} columns", f"{self.n_features_in_}, as in fit")
        scores = (rows - self.mean_.astype(rows.dtype)) @ self.components_.T.astype(rows.dtype)
        return arrays.like(X)(scores)

    def transform_to(self, X: Any, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the scores of rows ``[n, d]`` that may be larger than memory: Parquet files of ``row`` and ``scores``.

        Each file appears whole; called again after a kill, what is missing is written. Raises PreconditionError for a
        folder with other results.
        """
        return mapping(X, folder, *self.mapped()).write()

    def mapped(self) -> Mapped:
        """Return what :meth:`transform_to` writes, for those who write it elsewhere."""
        check_is_fitted(self)
        return Mapped(self.transform, "scores", [self.mean_, self.components_])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as one safetensors file."""
        check_is_fitted(self)
        save_model(path, _KIND, self.get_params(), {"mean": self.mean_, "components": self.components_})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote. Raises NotFoundError, DataError."""
        params, tensors = load_model(path, _KIND)
        return cls(**params)._become(tensors["mean"], tensors["components"].T)  # noqa: SLF001 - our own
