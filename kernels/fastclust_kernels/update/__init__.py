"""Sums and weights of the rows of each cluster: the new centres of a k-means iteration before the division."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust_kernels import arrays, checks
from fastclust_kernels.dispatch import Backend, Request, choose, parallel_launch
from fastclust_kernels.errors import InputError, InputTypeError
from fastclust_kernels.update import reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BACKENDS", "ClusterSums", "update"]


class ClusterSums(NamedTuple):
    """What the rows of each cluster add up to."""

    #: float64 [k, d]
    sums: NDArray[np.float64]
    #: float64 [k]: number of rows, or sum of their weights.
    weights: NDArray[np.float64]
    backend: str


def _run_numba(
    X: NDArray[Any], labels: NDArray[Any], k: int, weights: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    from fastclust_kernels.update import _numba as kernel

    with parallel_launch():
        return kernel.update(X, labels, k, weights)


BACKENDS = (
    Backend("numba", _run_numba, ("cpu",), ("float32", "float64"), {"float32": 1e-12, "float64": 1e-12}, ("numba",)),
    Backend("reference", reference.update, ("cpu",), ("float32", "float64"), automatic=False),
)


def update(X: Any, labels: Any, k: int, *, weights: Any = None, backend: str = "auto") -> ClusterSums:
    """Add up the rows of each cluster, in float64 and in a fixed order: the same bits for any number of threads.

    Parameters
    ----------
    X
        ``[n, d]``, float32 or float64.
    labels
        Integers ``[n]`` in ``[0, k)``.
    k
        Number of clusters.
    weights
        ``[n]``, or None for one each.
    backend
        "auto", "numba" or "reference".

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes or dtypes, labels out of range.
    """
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
