"""Assignment of rows to clusters whose sizes have bounds, at the least total cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels import arrays, checks
from fastclust_kernels.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["balance"]


def balance(costs: Any, size_min: int, size_max: int) -> NDArray[np.int32]:
    """Labels int32 ``[n]`` with the least sum of costs among those with sizes in ``[size_min, size_max]``.

    A transportation problem, solved exactly by successive shortest paths (Ahuja, Magnanti, Orlin, "Network Flows",
    1993, section 9.7): rows start at their cheapest cluster, and while a cluster is too large or too small, one row
    moves along each arc of the cheapest path between clusters.

    Parameters
    ----------
    costs
        ``[n, k]``, float32 or float64, finite.
    size_min, size_max
        Bounds of all sizes.

    Raises
    ------
    InputError, InputTypeError
        No sizes within the bounds add up to n; NaN or Inf, wrong shapes or dtypes.
    """
    matrix = checks.check_matrix(arrays.to_numpy(costs, "costs"), "costs")
    n, k = matrix.shape
    if not 0 <= size_min <= size_max:
        raise InputError("size_min", f"{size_min} with size_max {size_max}", "0 <= size_min <= size_max")
    if size_min * k > n:
        raise InputError("size_min", size_min, f"at most {n // k}: {k} clusters share {n} rows")
    if size_max * k < n:
        raise InputError("size_max", size_max, f"at least {-(-n // k)}: {k} clusters share {n} rows")
    from fastclust_kernels.balance import _numba as kernel

    labels = matrix.argmin(axis=1).astype(np.int32)
    kernel.balance(matrix, size_min, size_max, labels)
    solved: NDArray[np.int32] = labels
    return solved
