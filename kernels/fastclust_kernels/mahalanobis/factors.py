"""Whitening factors W with ``W W^T`` the inverse covariance: by triangular solves where possible, never an inverse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.checks import check_finite
from fastclust_kernels.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["factor_of_covariance", "factor_of_precision"]

_SYMMETRY = 1e-5


def _symmetric(matrix: Any, field: str) -> NDArray[np.float64]:
    checked = np.asarray(matrix, np.float64)
    if checked.ndim != 2 or checked.shape[0] != checked.shape[1] or 0 in checked.shape:
        raise InputError(field, f"shape {checked.shape}", "a square matrix")
    check_finite(checked, field)
    scale = np.abs(checked).max()
    if np.abs(checked - checked.T).max() > _SYMMETRY * scale:
        raise InputError(field, "a matrix that is not symmetric", "a symmetric matrix")
    return (checked + checked.T) / 2


def _spectrum(matrix: NDArray[np.float64], field: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues above d * eps * the largest, and their vectors."""
    values, vectors = np.linalg.eigh(matrix)
    floor = len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    if values[0] < -max(floor, _SYMMETRY * abs(values[-1])):
        raise InputError(field, f"an eigenvalue of {values[0]:.3g}", "a positive semi-definite matrix")
    keep = values > floor
    if not keep.any():
        raise InputError(field, "a matrix of zeros", "a matrix of rank 1 or more")
    return values[keep], vectors[:, keep]


def factor_of_covariance(covariance: Any) -> NDArray[np.float64]:
    """W ``[d, r]`` with ``W W^T`` the (pseudo-)inverse of ``covariance`` ``[d, d]``.

    Cholesky and a triangular solve; where that fails, the covariance is singular, and W spans the directions in which
    there is variance: r is the rank, and differences outside those directions count for nothing.

    Raises
    ------
    InputError
        Not square, not symmetric, not positive semi-definite, all zeros, NaN or Inf.
    """
    from scipy.linalg import LinAlgError, cholesky, solve_triangular

    matrix = _symmetric(covariance, "cov")
    values, vectors = _spectrum(matrix, "cov")
    if len(values) == len(matrix):
        try:
            lower = cholesky(matrix, lower=True)
        except LinAlgError:
            pass
        else:
            upper: NDArray[np.float64] = solve_triangular(lower, np.eye(len(matrix)), lower=True).T
            return np.ascontiguousarray(upper)
    return np.ascontiguousarray(vectors / np.sqrt(values))


def factor_of_precision(precision: Any) -> NDArray[np.float64]:
    """W ``[d, r]`` with ``W W^T = precision`` ``[d, d]``, positive semi-definite. Raises InputError."""
    matrix = _symmetric(precision, "VI")
    values, vectors = _spectrum(matrix, "VI")
    return np.ascontiguousarray(vectors * np.sqrt(values))
