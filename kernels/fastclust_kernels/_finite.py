"""Whether all of many numbers are finite, at the speed at which memory is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.arrays import writable
from fastclust_kernels.dispatch import launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["all_finite"]

#: Numbers that one thread looks at together.
_CHUNK = 1 << 16


def all_finite(flat: NDArray[Any]) -> bool:
    """Return whether a contiguous float32 or float64 ``[m]`` has neither NaN nor Inf."""
    with launch():
        return bool(_all_finite(writable(flat)))


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _all_finite(flat):  # type: ignore[no-untyped-def]
    chunks = (len(flat) + _CHUNK - 1) // _CHUNK
    found = np.zeros(chunks, np.bool_)
    for chunk in numba.prange(chunks):
        found[chunk] = _is_finite(flat[chunk * _CHUNK : (chunk + 1) * _CHUNK])
    return found.all()


@numba.njit(cache=True, fastmath={"contract", "reassoc"})
def _is_finite(part):  # type: ignore[no-untyped-def]
    # Zero times a number is zero, unless the number is none or infinite.
    total = part.dtype.type(0)
    for i in range(len(part)):
        total += part[i] * part.dtype.type(0)
    return total == 0
