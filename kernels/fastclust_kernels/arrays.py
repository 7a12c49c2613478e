"""Arrays of other libraries in and out: what goes in as a torch or CuPy array comes out as one."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.errors import BackendError, InputTypeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray

__all__ = ["empty_on_lines", "like", "to_numpy", "writable"]

#: Bytes of two lines of the cache, which processors bring near together.
_LINES = 128


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


def empty_on_lines(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array that begins where a line of the cache does, so that no vector of its numbers lies in two of them.

    NumPy's own begin 16 bytes after that where they are large, and each 64 bytes are two reads then.
    """
    count = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(count + _LINES, np.uint8)
    start = -memory.ctypes.data % _LINES
    return memory[start : start + count].view(dtype).reshape(shape)


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
