"""What comes into an estimator: rows and weights, checked once, with scikit-learn's bookkeeping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import validate_data

from fastclust.data import RowSource
from fastclust.data.limits import floating
from fastclust.errors import InputError, InputTypeError
from fastclust_kernels import arrays, checks

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator

__all__ = ["check_rows", "check_weights", "check_width"]


def check_rows(estimator: BaseEstimator, X: Any, *, reset: bool) -> Any:
    """Return ``X`` as a finite C-contiguous or CSR float32 or float64 matrix, and note its width and column names.

    Raises
    ------
    InputTypeError
        Complex, text.
    InputError
        Not two-dimensional, empty, NaN or Inf, another width than at the fit.
    """
    sparse = hasattr(X, "tocsr")
    rows = read(X) if isinstance(X, RowSource) else X if sparse or hasattr(X, "columns") else arrays.to_numpy(X, "X")
    try:
        checked = validate_data(
            estimator,
            rows,
            reset=reset,
            dtype=[np.float64, np.float32],
            order="C",
            ensure_all_finite=False,
            accept_sparse="csr",
            accept_large_sparse=False,
        )
    except TypeError as error:
        raise InputTypeError("X", type(X).__name__, "an array [n, d] of numbers", str(error)) from error
    except ValueError as error:
        raise InputError("X", f"shape {np.shape(rows)}", "an array [n, d] of numbers", str(error)) from error
    checks.check_finite(checked.data if sparse else checked, "X")
    return checked


def read(source: RowSource) -> NDArray[Any]:
    """All rows of a source, in the dtype in which they are worked on."""
    rows = source.read()
    return rows if source.in_memory else rows.astype(floating(rows.dtype), copy=False)


def check_width(estimator: BaseEstimator, source: Any, *, reset: bool) -> None:
    """Note the width of a source or a tensor, or compare it with the one noted. Raises InputError."""
    d = source.shape[1]
    if reset:
        estimator.n_features_in_ = d
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    elif d != estimator.n_features_in_:
        raise InputError("X", f"{d} columns", f"{estimator.n_features_in_}, as in fit")


def check_weights(weights: Any, n_rows: int) -> NDArray[np.float64] | None:
    """Return ``weights`` as float64 ``[n]``, or None. Raises InputError for what no weights are."""
    if weights is None:
        return None
    each = np.asarray(arrays.to_numpy(weights, "sample_weight"), np.float64)
    if each.ndim == 0:
        each = np.full(n_rows, float(each))
    if each.shape != (n_rows,):
        raise InputError("sample_weight", f"shape {each.shape}", f"({n_rows},), one a row")
    checks.check_finite(each, "sample_weight")
    if each.min() < 0 or each.sum() <= 0:
        raise InputError(
            "sample_weight", f"least {each.min()}, sum {each.sum()}", "weights >= 0, not every weight zero"
        )
    return each
