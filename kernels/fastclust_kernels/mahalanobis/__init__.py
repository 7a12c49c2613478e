"""Mahalanobis distances: all pairs, row beside row, the nearest, and rows to components with a covariance each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust_kernels import arrays, checks, tensors
from fastclust_kernels.devices import triton_asks
from fastclust_kernels.dispatch import Backend, Request, choose, parallel_launch
from fastclust_kernels.errors import InputError, InputTypeError
from fastclust_kernels.mahalanobis import reference
from fastclust_kernels.mahalanobis.factors import factor_of_covariance, factor_of_precision
from fastclust_kernels.mahalanobis.few import few_asks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "BACKENDS",
    "COMPONENT_BACKENDS",
    "Nearest",
    "factor_of_covariance",
    "factor_of_precision",
    "nearest",
    "paired",
    "pairs",
    "to_components",
]


class _Numba:
    """The kernels, imported when they are first called."""

    @staticmethod
    def pairs(X: NDArray[Any], Y: NDArray[Any], factor: NDArray[Any], out: NDArray[Any], *, squared: bool) -> None:
        from fastclust_kernels.mahalanobis import _pairs

        with parallel_launch():
            _pairs.pairs(X, Y, factor, out, squared=squared)

    @staticmethod
    def paired(X: NDArray[Any], Y: NDArray[Any], factor: NDArray[Any]) -> NDArray[np.float64]:
        from fastclust_kernels.mahalanobis import _components

        with parallel_launch():
            return _components.paired(X, Y, factor)

    @staticmethod
    def nearest(
        X: NDArray[Any], Y: NDArray[Any], factor: NDArray[Any], k: int, *, others_only: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        from fastclust_kernels.mahalanobis import _nearest

        with parallel_launch():
            return _nearest.nearest(X, Y, factor, k, others_only=others_only)

    @staticmethod
    def to_components(
        X: NDArray[Any], means: NDArray[Any], factors: NDArray[Any], out: NDArray[Any], *, squared: bool
    ) -> None:
        from fastclust_kernels.mahalanobis import _components

        with parallel_launch():
            _components.to_components(X, means, factors, out, squared=squared)


class _Triton:
    """Kernels that take tensors, imported when they are first called."""

    @staticmethod
    def pairs(X: Any, Y: Any, factor: NDArray[Any], out: Any, *, squared: bool) -> None:
        from fastclust_kernels.mahalanobis import device

        device.pairs(X, Y, factor, out, squared=squared)

    @staticmethod
    def paired(X: Any, Y: Any, factor: NDArray[Any]) -> Any:
        from fastclust_kernels.mahalanobis import device

        return device.paired(X, Y, factor)

    @staticmethod
    def nearest(X: Any, Y: Any, factor: NDArray[Any], k: int, *, others_only: bool) -> tuple[Any, Any]:
        from fastclust_kernels.mahalanobis import device

        return device.nearest(X, Y, factor, k, others_only=others_only)

    @staticmethod
    def to_components(X: Any, means: Any, factors: Any, out: Any, *, squared: bool) -> None:
        from fastclust_kernels.mahalanobis import device

        device.to_components(X, means, factors, out, squared=squared)


class _Cuda:
    """CUDA C++, compiled when it is first called."""

    @staticmethod
    def to_components(X: Any, means: Any, factors: Any, out: Any, *, squared: bool) -> None:
        from fastclust_kernels.mahalanobis import _cuda

        _cuda.to_components(X, means, factors, out, squared=squared)


#: ``run`` is a module or class with ``pairs``, ``paired``, ``nearest`` and ``to_components``, on arrays or on tensors.
BACKENDS = (
    Backend(
        "numba",
        _Numba,
        ("cpu",),
        ("float32", "float64"),
        {"float32": 2e-6, "float64": 1e-12},
        ("numba", "scipy"),
    ),
    Backend(
        "triton",
        _Triton,
        ("cpu", "cuda"),
        ("float32", "float64", "float16", "bfloat16"),
        {"float32": 2e-6, "float64": 1e-12},
        ("torch", "triton"),
        asks=triton_asks,
    ),
    Backend("reference", reference, ("cpu",), ("float32", "float64"), automatic=False),  # type: ignore[arg-type]
)

#: ``run`` has ``to_components``. Few columns are CUDA C++'s, where Triton would multiply sixteen at least.
COMPONENT_BACKENDS = (
    BACKENDS[0],
    Backend(
        "cuda",
        _Cuda,
        ("cuda",),
        ("float32", "float64"),
        {"float32": 2e-6, "float64": 1e-12},
        ("torch", "cupy"),
        asks=few_asks,
    ),
    *BACKENDS[1:],
)


class Nearest(NamedTuple):
    """The nearest rows, nearest first."""

    #: ``[n, k]``, in the dtype of ``X``.
    distances: Any
    #: int64 ``[n, k]``: numbers of rows of ``Y``; on a tie the lowest.
    indices: Any
    backend: str


def pairs(
    X: Any, Y: Any, factor: Any, *, squared: bool = False, backend: str = "auto", out: Any = None
) -> tuple[Any, str]:
    """Compute ``|W^T (x - y)|`` for all pairs.

    Parameters
    ----------
    X, Y
        ``[n, d]`` and ``[m, d]``, float32 or float64. The dtype of ``X`` is that of the result. On a GPU float16 and
        bfloat16 too; results are float32 then.
    factor
        W, ``[d, r]``: the metric's matrix is ``W W^T``.
    squared
        Leave the root out.
    backend
        "auto", "numba", "triton" or "reference". On a GPU "auto" takes only what has a recorded pass against the oracle
        on that kind of GPU.
    out
        ``[n, m]`` to write into, C-contiguous and of the result's dtype; a memory-mapped array may exceed memory. For
        rows on a GPU a tensor or CuPy array there.

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
    if tensors.wanted(backend, X):
        found, name = _on_tensors().pairs(BACKENDS, X, Y, factor, squared=squared, backend=backend, out=out)
        return found, name
    rows, others = _both(X, Y)
    matrix = _factor(factor, rows.shape[1])
    target = _target(out, (len(rows), len(others)), rows.dtype)
    chosen = choose("mahalanobis", BACKENDS, Request("cpu", rows.dtype.name), backend)
    chosen.run.pairs(rows, others, matrix, target, squared=squared)  # type: ignore[attr-defined]
    return (arrays.like(X)(target) if out is None else out), chosen.name


def paired(X: Any, Y: Any, factor: Any, *, squared: bool = False, backend: str = "auto") -> tuple[Any, str]:
    """Compute ``|W^T (x_i - y_i)|`` of row beside row, by differences in float64.

    Parameters
    ----------
    X, Y
        ``[n, d]`` both.
    factor, squared, backend
        As for :func:`pairs`.

    Returns
    -------
    distances, backend
        ``[n]``, in kind and dtype with ``X``, and the backend's name. Errors are those of :func:`pairs`.
    """
    if tensors.wanted(backend, X):
        found, name = _on_tensors().paired(BACKENDS, X, Y, factor, squared=squared, backend=backend)
        return found, name
    rows, others = _both(X, Y)
    if len(rows) != len(others):
        raise InputError("Y", f"{len(others)} rows", f"{len(rows)}, as in X")
    matrix = _factor(factor, rows.shape[1])
    chosen = choose("mahalanobis", BACKENDS, Request("cpu", rows.dtype.name), backend)
    total = chosen.run.paired(rows, others, matrix)  # type: ignore[attr-defined]
    return arrays.like(X)((total if squared else np.sqrt(total)).astype(rows.dtype)), chosen.name


def nearest(
    X: Any,
    Y: Any,
    factor: Any,
    n_neighbors: int = 1,
    *,
    others_only: bool = False,
    squared: bool = False,
    backend: str = "auto",
) -> Nearest:
    """Find the nearest rows of ``Y`` to each row of ``X`` without making the ``[n, m]`` distances.

    Rounding cannot reorder what comes back: candidates that scores cannot tell apart are compared by differences of the
    original rows in float64. Beside ``X`` and the result it needs the mapped rows of ``Y``: ``m r`` numbers in float64
    and twice in the dtype of ``X``.

    Parameters
    ----------
    X, Y
        ``[n, d]`` and ``[m, d]``.
    factor
        W, ``[d, r]``.
    n_neighbors
        How many, at most m.
    others_only
        Row i of ``X`` is row i of ``Y``, and no neighbour of itself.
    squared, backend
        As for :func:`pairs`.

    Returns
    -------
    Nearest
        Errors are those of :func:`pairs`.
    """
    if tensors.wanted(backend, X):
        named = {"others_only": others_only, "squared": squared, "backend": backend}
        return Nearest(*_on_tensors().nearest(BACKENDS, X, Y, factor, n_neighbors, **named))
    rows, others = _both(X, Y)
    matrix = _factor(factor, rows.shape[1])
    most = len(others) - bool(others_only)
    if isinstance(n_neighbors, bool) or not isinstance(n_neighbors, (int, np.integer)):
        raise InputTypeError("n_neighbors", repr(n_neighbors), "an integer")
    if not 1 <= n_neighbors <= most:
        raise InputError("n_neighbors", str(n_neighbors), f"1 to {most}, the rows to look among")
    chosen = choose("mahalanobis", BACKENDS, Request("cpu", rows.dtype.name), backend)
    total, indices = chosen.run.nearest(rows, others, matrix, int(n_neighbors), others_only=others_only)  # type: ignore[attr-defined]
    wrap = arrays.like(X)
    distances = (total if squared else np.sqrt(total)).astype(rows.dtype, copy=False)
    return Nearest(wrap(distances), wrap(indices), chosen.name)


def to_components(
    X: Any, means: Any, factors: Any, *, squared: bool = False, backend: str = "auto", out: Any = None
) -> Any:
    """Compute ``|W_k^T (x - m_k)|`` for k components with a factor each: ``[n, k]``.

    What the E-step of a mixture of full covariances needs. Differences are made in float64, products in the dtype of
    ``X``; zeros of triangular factors are skipped, and there is never an ``[n, k, d]`` array.

    Parameters
    ----------
    X
        ``[n, d]``; its dtype is that of the result and of the arithmetic.
    means
        ``[k, d]``.
    factors
        ``[k, d, r]``.
    squared, out
        As for :func:`pairs`.
    backend
        As for :func:`pairs`, or "cuda": CUDA C++ through CuPy, for at most eight columns (d and r), float32 or float64.

    Returns
    -------
    array
        In kind with ``X``. Errors are those of :func:`pairs`.
    """
    if tensors.wanted(backend, X):
        return _on_tensors().to_components(
            COMPONENT_BACKENDS, X, means, factors, squared=squared, backend=backend, out=out
        )
    rows = checks.check_matrix(arrays.to_numpy(X, "X"), "X")
    centers = checks.check_matrix(arrays.to_numpy(means, "means"), "means").astype(np.float64)
    checks.check_same_width(rows, centers, ("X", "means"))
    stack = np.ascontiguousarray(arrays.to_numpy(factors, "factors"), np.float64)
    k, d = centers.shape
    if stack.ndim != 3 or stack.shape[:2] != (k, d) or not stack.shape[2]:
        raise InputError("factors", f"shape {stack.shape}", f"({k}, {d}, rank)")
    checks.check_finite(stack, "factors")
    target = _target(out, (len(rows), k), rows.dtype)
    asked = Request("cpu", rows.dtype.name, columns=max(stack.shape[1:]))
    chosen = choose("components", COMPONENT_BACKENDS, asked, backend)
    chosen.run.to_components(rows, centers, stack, target, squared=squared)  # type: ignore[attr-defined]
    return arrays.like(X)(target) if out is None else out


def _on_tensors() -> Any:
    """Imported only where it is needed, as torch is."""
    from fastclust_kernels.mahalanobis import on_tensors

    return on_tensors


def _both(X: Any, Y: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    rows = checks.check_matrix(arrays.to_numpy(X, "X"), "X")
    others = rows if Y is X else checks.check_matrix(arrays.to_numpy(Y, "Y"), "Y").astype(rows.dtype, copy=False)
    checks.check_same_width(rows, others, ("X", "Y"))
    return rows, others


def _factor(factor: Any, width: int) -> NDArray[np.float64]:
    matrix = np.ascontiguousarray(arrays.to_numpy(factor, "factor"), np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != width or not matrix.shape[1]:
        raise InputError("factor", f"shape {matrix.shape}", f"({width}, rank)")
    checks.check_finite(matrix, "factor")
    return matrix


def _target(out: Any, shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    if out is None:
        return np.empty(shape, dtype)
    target = arrays.to_numpy(out, "out")
    if target.shape != shape or target.dtype != dtype or not target.flags.c_contiguous or not target.flags.writeable:
        raise InputError("out", f"{target.dtype} {target.shape}", f"writable, C-contiguous {dtype} {shape}")
    return target
