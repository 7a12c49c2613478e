"""Mahalanobis distances: whitening factors, all pairs, and rows to components with a covariance each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels import arrays, checks
from fastclust_kernels.dispatch import Backend, Request, choose, parallel_launch
from fastclust_kernels.errors import InputError
from fastclust_kernels.mahalanobis import reference
from fastclust_kernels.mahalanobis.factors import factor_of_covariance, factor_of_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BACKENDS", "factor_of_covariance", "factor_of_precision", "pairs", "to_components"]


def _run_numba(X: NDArray[Any], Y: NDArray[Any], factor: NDArray[Any], out: NDArray[Any], *, squared: bool) -> None:
    from fastclust_kernels.mahalanobis import _numba as kernel

    with parallel_launch():
        kernel.pairs(X, Y, factor, out, squared=squared)


BACKENDS = (
    Backend(
        "numba",
        _run_numba,
        ("cpu",),
        ("float32", "float64"),
        {"float32": 2e-6, "float64": 1e-12},
        ("numba", "scipy"),
    ),
    Backend("reference", reference.pairs, ("cpu",), ("float32", "float64"), automatic=False),
)


def pairs(
    X: Any, Y: Any, factor: Any, *, squared: bool = False, backend: str = "auto", out: Any = None
) -> tuple[Any, str]:
    """Compute ``|W^T (x - y)|`` for all pairs.

    Parameters
    ----------
    X, Y
        ``[n, d]`` and ``[m, d]``, float32 or float64. The dtype of ``X`` is that of the result.
    factor
        W, ``[d, r]``: the metric's matrix is ``W W^T``.
    squared
        Leave the root out.
    backend
        "auto", "numba" or "reference".
    out
        ``[n, m]`` to write into, C-contiguous and of the result's dtype; a memory-mapped array may exceed memory.

    Returns
    -------
    distances, backend
        ``[n, m]`` in kind with ``X``, and the backend's name.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or dtypes, NaN or Inf.
    BackendError
        The backend asked for cannot run this.
    """
    rows = checks.check_matrix(arrays.to_numpy(X, "X"), "X")
    others = rows if Y is X else checks.check_matrix(arrays.to_numpy(Y, "Y"), "Y").astype(rows.dtype, copy=False)
    checks.check_same_width(rows, others, ("X", "Y"))
    matrix = np.asarray(arrays.to_numpy(factor, "factor"), np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != rows.shape[1]:
        raise InputError("factor", f"shape {matrix.shape}", f"({rows.shape[1]}, rank)")
    shape = (len(rows), len(others))
    if out is not None and (out.shape != shape or out.dtype != rows.dtype or not out.flags.c_contiguous):
        raise InputError("out", f"{out.dtype} {out.shape}", f"C-contiguous {rows.dtype} {shape}")
    target = np.full(shape, np.nan, rows.dtype) if out is None else out
    chosen = choose("mahalanobis", BACKENDS, Request("cpu", rows.dtype.name), backend)
    chosen.run(rows, others, matrix, target, squared=squared)
    return arrays.like(X)(target), chosen.name


def to_components(X: Any, means: Any, factors: Any, *, squared: bool = False) -> Any:
    """Compute ``|W_k^T (x - m_k)|`` for k components with a factor each: ``[n, k]``.

    One product with the factors stacked side by side for each block of rows; never an ``[n, k, d]`` array. In float64,
    for which rows are moved to the mean of the means first; the result has the dtype of ``X``.

    Parameters
    ----------
    X
        ``[n, d]``.
    means
        ``[k, d]``.
    factors
        ``[k, d, r]``.
    squared
        Leave the root out.
    """
    rows = checks.check_matrix(arrays.to_numpy(X, "X"), "X")
    centers = checks.check_matrix(arrays.to_numpy(means, "means"), "means").astype(np.float64)
    checks.check_same_width(rows, centers, ("X", "means"))
    stack = np.asarray(arrays.to_numpy(factors, "factors"), np.float64)
    k, d = centers.shape
    if stack.ndim != 3 or stack.shape[:2] != (k, d):
        raise InputError("factors", f"shape {stack.shape}", f"({k}, {d}, rank)")
    rank = stack.shape[2]
    side_by_side = np.ascontiguousarray(stack.transpose(1, 0, 2).reshape(d, k * rank))
    shift = centers.mean(axis=0)
    offsets = np.einsum("kd,kdr->kr", centers - shift, stack).reshape(k * rank)
    out = np.empty((len(rows), k), rows.dtype)
    step = max(1, 2**21 // (k * rank))
    for start in range(0, len(rows), step):
        block = (rows[start : start + step].astype(np.float64) - shift) @ side_by_side
        block -= offsets
        total = np.einsum("nkr,nkr->nk", *(2 * [block.reshape(-1, k, rank)]))
        out[start : start + step] = total if squared else np.sqrt(total)
    return arrays.like(X)(out)
