"""Mahalanobis distances in one call: of all pairs, and to components with a covariance each."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastclust.errors import InputError
from fastclust.metric.covariance import empirical
from fastclust_kernels import arrays, checks
from fastclust_kernels import mahalanobis as kernels

__all__ = ["mahalanobis", "mahalanobis_to_components"]


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
        "auto", "numba", "triton" (a CUDA GPU) or "reference".
    out
        ``[n, m]`` to write into, of the result's dtype; a memory-mapped array may exceed memory.

    Returns
    -------
    array
        ``[n, m]``, in kind with ``X``; ``out`` if that was given.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or dtypes, NaN or Inf, both ``VI`` and ``cov``, a matrix that is not positive semi-definite; no
        matrix, and no more rows than columns.
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
        if len(rows) <= rows.shape[1]:
            raise InputError(
                "X",
                f"{len(rows)} rows of {rows.shape[1]} columns",
                "more rows than columns to take the covariance from",
                'Give cov or VI, or use MahalanobisMetric("ledoit_wolf").',
            )
        factor = kernels.factor_of_covariance(empirical(rows, ddof=1))
    return kernels.pairs(X, others, factor, squared=squared, backend=backend, out=out)[0]


def mahalanobis_to_components(
    X: Any,
    means: Any,
    covariances: Any = None,
    *,
    factors: Any = None,
    squared: bool = False,
    backend: str = "auto",
    out: Any = None,
) -> Any:
    """Compute the distance of each row to k components with a covariance each: the E-step of a mixture.

    Parameters
    ----------
    X
        ``[n, d]``. float32 rows are worked on in float32, from differences that were made in float64.
    means
        ``[k, d]``.
    covariances
        ``[k, d, d]``; may be singular.
    factors
        ``[k, d, r]`` in place of covariances: W_k with ``W_k W_k^T`` the precision matrix, such as
        ``precisions_cholesky_`` of scikit-learn's GaussianMixture.
    squared
        Leave the root out.
    backend
        "auto", "numba", "triton" (a CUDA GPU), "cuda" (CUDA C++ there, d and r at most 8) or "reference".
    out
        ``[n, k]`` to write into.

    Returns
    -------
    array
        ``[n, k]``, in kind with ``X``.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes, NaN or Inf, a matrix that is not positive semi-definite, covariances and factors both or neither.
    """
    if (covariances is None) == (factors is None):
        raise InputError("covariances", "both or neither of covariances and factors", "one of them")
    if factors is None:
        stack = np.asarray(arrays.to_numpy(covariances, "covariances"), np.float64)
        if stack.ndim != 3:
            raise InputError("covariances", f"shape {stack.shape}", "[k, d, d]")
        factors = np.zeros_like(stack)
        for number, covariance in enumerate(stack):
            factor = kernels.factor_of_covariance(covariance)
            factors[number, :, : factor.shape[1]] = factor
    return kernels.to_components(X, means, factors, squared=squared, backend=backend, out=out)
