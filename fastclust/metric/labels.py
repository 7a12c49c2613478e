"""Rows with labels, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError, InputTypeError
from fastclust_kernels import arrays, checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["checked_rows_and_labels", "checked_signs"]


def checked_rows_and_labels(X: Any, y: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows ``[n, d]`` in float64 and their labels ``[n]``. Raises InputError, InputTypeError."""
    if y is None:
        raise InputError("y", "None", "a label a row: this metric is learned from labels")
    rows = checks.check_matrix(arrays.to_numpy(X, "X"), "X").astype(np.float64)
    return rows, _integers(y, len(rows), "rows of X")


def checked_signs(y: Any, count: int) -> NDArray[np.bool_]:
    """Whether each pair is of a kind, from labels 1 and -1. Raises InputError, InputTypeError."""
    if y is None:
        raise InputError("y", "None", "1 or -1 a pair: alike or not")
    signs = _integers(y, count, "pairs")
    if not np.isin(signs, (-1, 1)).all():
        raise InputError("y", f"values {np.unique(signs)[:5]}", "1 (alike) and -1 (not alike)")
    alike: NDArray[np.bool_] = signs == 1
    if alike.all() or not alike.any():
        raise InputError("y", "pairs of one kind only", "pairs that are alike and pairs that are not")
    return alike


def _integers(y: Any, count: int, what: str) -> NDArray[np.int64]:
    labels = arrays.to_numpy(y, "y")
    if labels.shape != (count,):
        raise InputError("y", f"shape {labels.shape}", f"({count},), as there are {count} {what}")
    if labels.dtype.kind not in "iub":
        raise InputTypeError("y", f"dtype {labels.dtype}", "integers")
    return labels.astype(np.int64)
