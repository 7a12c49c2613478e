"""Arrays as torch tensors for GPU backends, checked, and results in kind: no copy where one lies where it is needed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels import arrays
from fastclust_kernels.devices import architecture_of, device_for_kernels
from fastclust_kernels.dispatch import Request
from fastclust_kernels.errors import InputError, InputTypeError

if TYPE_CHECKING:
    import torch

__all__ = ["Kind", "check_finite", "request_for", "tensor", "vector", "wanted"]

#: What a backend that takes tensors is called.
_NAMES = ("triton", "cuda")
#: DLPack's numbers of CUDA memory: its own, and managed.
_CUDA = (2, 13)


def wanted(backend: str, value: Any) -> bool:
    """Whether a request goes to backends that take tensors: asked for by name, or because ``value`` lies on a GPU."""
    return backend in _NAMES or _on_gpu(value)


def _on_gpu(value: Any) -> bool:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return bool(value.device.type != "cpu")
    if isinstance(value, np.ndarray) or not hasattr(value, "__dlpack_device__"):
        return False
    return value.__dlpack_device__()[0] in _CUDA


class Kind:
    """What the caller's array is, and so what results are to be: a tensor, a CuPy array, or NumPy's.

    ``device`` is where kernels are to run: where the array lies, or the GPU (the CPU, for the interpreter) where it
    lies in host memory.
    """

    def __init__(self, value: Any) -> None:
        import torch

        self._tensor = isinstance(value, torch.Tensor)
        self._cupy = not self._tensor and _on_gpu(value)
        self._home = value.device if self._tensor else torch.device("cpu")
        if self._cupy:
            self._home = torch.utils.dlpack.from_dlpack(value).device
        self.device: torch.device = device_for_kernels() if self._home.type == "cpu" else self._home

    def back(self, found: torch.Tensor) -> Any:
        """Return a result in kind, where the caller's array lies."""
        if self._cupy:
            import cupy

            return cupy.from_dlpack(found)
        return found.to(self._home) if self._tensor else found.cpu().numpy()


def request_for(rows: torch.Tensor) -> Request:
    """What is asked of a backend."""
    return Request(rows.device.type, str(rows.dtype).removeprefix("torch."), architecture_of(rows.device))


def tensor(value: Any, field: str, device: torch.device, *, finite: bool = True) -> torch.Tensor:
    """Return ``value`` as a C-contiguous matrix of floating-point numbers on ``device``; other numbers become float64.

    Raises
    ------
    InputTypeError
        Complex numbers, text or objects.
    InputError
        Not two-dimensional, empty, or (with ``finite``) NaN or Inf somewhere.
    """
    import torch

    found = _moved(value, field, device)
    if found.dtype.is_complex:
        raise InputTypeError(field, f"dtype {found.dtype}", "floating-point numbers, or what converts to float64")
    if found.ndim != 2:
        raise InputError(field, f"shape {tuple(found.shape)}", "two dimensions")
    if 0 in found.shape:
        raise InputError(field, f"shape {tuple(found.shape)}", "at least one row and one column")
    if not found.dtype.is_floating_point or found.dtype.itemsize == 1:
        found = found.to(torch.float64)
    found = found.contiguous()
    if finite:
        check_finite(found, field)
    return found


def vector(value: Any, field: str, device: torch.device) -> torch.Tensor:
    """Return ``value`` as a tensor on ``device``, of any shape and dtype."""
    return _moved(value, field, device)


def _moved(value: Any, field: str, device: torch.device) -> torch.Tensor:
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().to(device)
    if _on_gpu(value):
        return torch.utils.dlpack.from_dlpack(value).to(device)
    array = arrays.to_numpy(value, field)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise InputTypeError(field, f"dtype {array.dtype}", "float32, float64, or what converts to float64")
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    if not array.flags.writeable and device.type == "cpu":
        array = array.copy()  # torch has no tensors that must not be written to
    return torch.from_numpy(array).to(device)


def check_finite(rows: torch.Tensor, field: str) -> None:
    """Raise InputError, naming the first place, if there is NaN or Inf."""
    import torch

    low, high = torch.aminmax(rows)
    if bool(torch.isfinite(low) & torch.isfinite(high)):
        return
    place = tuple((~torch.isfinite(rows)).nonzero()[0].tolist())
    where = f"row {place[0]}" + (f", column {place[1]}" if len(place) > 1 else "")
    raise InputError(field, f"{rows[place].item()} at {where}", "finite numbers: no NaN, no Inf")
