"""Sums and weights of the rows of each cluster: the new centres of a k-means iteration before the division."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust_kernels import arrays, checks, tensors
from fastclust_kernels.devices import cuda_asks, triton_asks
from fastclust_kernels.dispatch import Backend, Request, choose, launch
from fastclust_kernels.errors import InputError, InputTypeError
from fastclust_kernels.update import reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BACKENDS", "ClusterSums", "update"]


class ClusterSums(NamedTuple):
    """What the rows of each cluster add up to."""

    #: float64 [k, d]; NumPy's for rows in host memory, else of the kind that the rows are, where they lie.
    sums: Any
    #: float64 [k]: number of rows, or sum of their weights.
    weights: Any
    backend: str


def _run_numba(
    X: NDArray[Any], labels: NDArray[Any], k: int, weights: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    from fastclust_kernels.update import _numba as kernel

    with launch():
        return kernel.update(X, labels, k, weights)


def _run_triton(X: Any, labels: Any, k: int, weights: Any) -> tuple[Any, Any]:
    from fastclust_kernels.update import _triton as kernel

    return kernel.added(X, None, labels, k, weights)


def _run_cuda(X: Any, labels: Any, k: int, weights: Any) -> tuple[Any, Any]:
    from fastclust_kernels.update import _cuda as kernel

    return kernel.added(X, None, labels, k, weights)


BACKENDS = (
    Backend("numba", _run_numba, ("cpu",), ("float32", "float64"), {"float32": 1e-12, "float64": 1e-12}, ("numba",)),
    Backend(
        "triton",
        _run_triton,
        ("cpu", "cuda"),
        ("float32", "float64", "float16", "bfloat16"),
        dict.fromkeys(("float32", "float64", "float16", "bfloat16"), 1e-12),
        ("torch", "triton"),
        asks=triton_asks,
    ),
    Backend(
        "cuda",
        _run_cuda,
        ("cuda",),
        ("float32", "float64"),
        {"float32": 1e-12, "float64": 1e-12},
        ("torch", "cupy"),
        asks=cuda_asks,
    ),
    Backend("reference", reference.update, ("cpu",), ("float32", "float64"), automatic=False),
)


def update(X: Any, labels: Any, k: int, *, weights: Any = None, backend: str = "auto") -> ClusterSums:
    """Add up the rows of each cluster, in float64 and in a fixed order: the same bits for any number of threads.

    Parameters
    ----------
    X
        ``[n, d]``, float32 or float64; on a GPU float16 and bfloat16 too.
    labels
        Integers ``[n]`` in ``[0, k)``.
    k
        Number of clusters.
    weights
        ``[n]``, or None for one each.
    backend
        "auto", "numba", "triton", "cuda" (CUDA C++ through CuPy) or "reference". On a GPU "auto" takes only what has a
        recorded pass against the oracle on that kind of GPU.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or dtypes, labels out of range.
    BackendError
        The backend asked for cannot run this.
    """
    if tensors.wanted(backend, X):
        return _on_device(X, labels, k, weights, backend)
    rows = checks.check_matrix(arrays.to_numpy(X, "X"), "X", finite=False)
    numbers = arrays.to_numpy(labels, "labels")
    if numbers.dtype.kind not in "iu":
        raise InputTypeError("labels", f"dtype {numbers.dtype}", "integers")
    if numbers.shape != (len(rows),):
        raise InputError("labels", f"shape {numbers.shape}", f"({len(rows)},), one a row")
    if numbers.min() < 0 or numbers.max() >= k:
        raise InputError("labels", f"{numbers.min()}..{numbers.max()}", f"0..{k - 1}")
    each = None if weights is None else np.ascontiguousarray(arrays.to_numpy(weights, "weights"), np.float64)
    if each is not None and each.shape != (len(rows),):
        raise InputError("weights", f"shape {each.shape}", f"({len(rows)},), one a row")
    chosen = choose("update", BACKENDS, Request("cpu", rows.dtype.name), backend)
    sums, total = chosen.run(rows, np.ascontiguousarray(numbers, np.int32), k, each)
    return ClusterSums(sums, total, chosen.name)


def _on_device(X: Any, labels: Any, k: int, weights: Any, backend: str) -> ClusterSums:
    import torch

    kind = tensors.Kind(X)
    rows = tensors.tensor(X, "X", kind.device, finite=False)
    numbers = tensors.vector(labels, "labels", kind.device)
    if numbers.dtype.is_floating_point or numbers.dtype.is_complex or numbers.dtype == torch.bool:
        raise InputTypeError("labels", f"dtype {numbers.dtype}", "integers")
    if numbers.shape != (len(rows),):
        raise InputError("labels", f"shape {tuple(numbers.shape)}", f"({len(rows)},), one a row")
    low, high = (int(each) for each in torch.aminmax(numbers))
    if low < 0 or high >= k:
        raise InputError("labels", f"{low}..{high}", f"0..{k - 1}")
    each = None if weights is None else tensors.vector(weights, "weights", kind.device).double().contiguous()
    if each is not None and each.shape != (len(rows),):
        raise InputError("weights", f"shape {tuple(each.shape)}", f"({len(rows)},), one a row")
    chosen = choose("update", BACKENDS, tensors.request_for(rows), backend)
    sums, total = chosen.run(rows, numbers.int(), k, each)
    return ClusterSums(kind.back(sums), kind.back(total), chosen.name)
