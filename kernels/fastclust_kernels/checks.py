"""Checks of what comes in, made before any work. NaN or Inf are looked for in one pass over the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Numbers from which on threads look at them.
_MANY = 1 << 21

__all__ = ["check_finite", "check_matrix", "check_same_width"]


def check_matrix(array: NDArray[Any], field: str, *, finite: bool = True) -> NDArray[Any]:
    """Return ``array`` as a C-contiguous float32 or float64 matrix; float16 becomes float32, integers float64.

    Raises
    ------
    InputTypeError
        Complex numbers, text, dates or objects.
    InputError
        Not two-dimensional, empty, or (with ``finite``) NaN or Inf somewhere.
    """
    if array.dtype.kind not in "fiub":
        raise InputTypeError(field, f"dtype {array.dtype}", "float32, float64, or what converts to float64")
    if array.ndim != 2:
        raise InputError(field, f"shape {array.shape}", "two dimensions")
    if 0 in array.shape:
        raise InputError(field, f"shape {array.shape}", "at least one row and one column")
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    elif array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float64)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if finite:
        check_finite(array, field)
    return array


def check_finite(array: NDArray[Any], field: str) -> None:
    """Raise InputError, naming the first place, if there is NaN or Inf."""
    if _all_finite(array):
        return
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = tuple(int(extent) for extent in bad[0])
        where = f"row {place[0]}" + (f", column {place[1]}" if len(place) > 1 else "")
        raise InputError(field, f"{array[place]} at {where}", "finite numbers: no NaN, no Inf")


def _all_finite(array: NDArray[Any]) -> bool:
    if array.size <= _MANY or not array.flags.c_contiguous or array.dtype not in (np.float32, np.float64):
        return _finite(array)
    from fastclust_kernels import _finite as kernel

    return kernel.all_finite(array.reshape(-1))


def _finite(array: NDArray[Any]) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


def check_same_width(first: Any, second: Any, names: tuple[str, str]) -> None:
    """Raise InputError unless both arrays or tensors have the same number of columns."""
    if first.shape[1] != second.shape[1]:
        raise InputError(names[1], f"{second.shape[1]} columns", f"{first.shape[1]}, as in {names[0]}")
