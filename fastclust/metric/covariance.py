"""Covariances of rows, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastclust.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["empirical"]


def empirical(rows: NDArray[np.float64], ddof: int) -> NDArray[np.float64]:
    """Sum of squares and products over ``n - ddof``: ``[d, d]``. Raises InputError for fewer rows than that takes."""
    if len(rows) <= ddof:
        raise InputError("X", f"{len(rows)} rows", f"at least {ddof + 1} rows to estimate a covariance from")
    moved = rows - rows.mean(axis=0)
    covariance: NDArray[np.float64] = moved.T @ moved / (len(rows) - ddof)
    return covariance
