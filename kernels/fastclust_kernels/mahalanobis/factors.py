"""Whitening factors W with ``W W^T`` the inverse covariance: by triangular solves where possible, never an inverse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.checks import check_finite
from fastclust_kernels.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["factor_of_covariance", "factor_of_precision", "is_upper"]

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
    from scipy.linalg import solve_triangular

    matrix = _symmetric(covariance, "cov")
    lower = _triangle(matrix)
    if lower is not None:
        return np.ascontiguousarray(solve_triangular(lower, np.eye(len(matrix)), lower=True).T)
    values, vectors = _spectrum(matrix, "cov")
    return np.ascontiguousarray(vectors / np.sqrt(values))


def factor_of_precision(precision: Any) -> NDArray[np.float64]:
    """W ``[d, r]`` with ``W W^T = precision`` ``[d, d]``, positive semi-definite. Raises InputError.

    Cholesky; where that fails, by eigenvalues, and r is the rank.
    """
    matrix = _symmetric(precision, "VI")
    lower = _triangle(matrix)
    if lower is not None:
        return np.ascontiguousarray(lower)
    values, vectors = _spectrum(matrix, "VI")
    return np.ascontiguousarray(vectors * np.sqrt(values))


def _triangle(matrix: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """L of ``L L^T = matrix``, or None where the matrix is singular, or nearly."""
    from scipy.linalg import LinAlgError, cholesky, lapack

    try:
        lower: NDArray[np.float64] = cholesky(matrix, lower=True)
    except LinAlgError:
        return None
    # LAPACK's estimate of 1 / condition is in the 1-norm, below that of the 2-norm but for the estimate's own error.
    estimate = lapack.dpocon(lower.T, np.abs(matrix).sum(axis=0).max())[0]
    return lower if estimate > 10 * len(matrix) * np.finfo(np.float64).eps else None


def is_upper(factors: Any) -> bool:
    """Whether tensors ``[..., d, r]`` have as many columns as rows and only zeros below the diagonal."""
    return bool(factors.shape[-2] == factors.shape[-1] and (factors == factors.triu()).all())
