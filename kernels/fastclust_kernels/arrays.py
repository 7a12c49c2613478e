"""Arrays of other libraries in and out: what goes in as a torch or CuPy array comes out as one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.errors import BackendError, InputTypeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["like", "to_numpy", "writable"]


def to_numpy(value: Any, field: str) -> NDArray[Any]:
    """Return ``value`` as a NumPy array, without a copy where it lies in host memory.

    Raises
    ------
    BackendError
        The array lies on a GPU: no backend here runs on one.
    InputTypeError
        Not an array of numbers.
    """
    if isinstance(value, np.ndarray):
        return value
    torch = sys.modules.get("torch")  # an argument can only be a tensor if torch is loaded
    if torch is not None and isinstance(value, torch.Tensor):
        if value.device.type != "cpu":
            raise BackendError(f"{field}: lies on {value.device}; the backends at hand run on the CPU. Call .cpu().")
        tensor: NDArray[Any] = value.detach().numpy()
        return tensor
    if hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] != 1:
        raise BackendError(f"{field}: lies on a GPU; the backends at hand run on the CPU. Copy it to the host.")
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    if hasattr(value, "toarray") and hasattr(value, "tocsr"):
        raise InputTypeError(field, "a sparse matrix", "a dense array", "Call .toarray().")
    return np.asarray(value)


def like(value: Any) -> Callable[[NDArray[Any]], Any]:
    """Return a function that turns NumPy results into arrays of the kind that ``value`` is."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return torch.from_numpy  # type: ignore[no-any-return]
    return lambda array: array


def writable(array: NDArray[Any]) -> NDArray[Any]:
    """The same memory without the mark "read-only", for which Numba would compile every kernel a second time.

    For what kernels only read: nothing may be written through it.
    """
    return array.view(np.ndarray) if array.flags.writeable else np.asarray(_Unmarked(array))


class _Unmarked:
    """What NumPy makes an array of that may be written to; the array keeps it, and it keeps the owner of the memory."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._owner = array
        self.__array_interface__ = array.__array_interface__ | {"data": (array.ctypes.data, False)}
