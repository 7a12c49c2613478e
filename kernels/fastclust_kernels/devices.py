"""Where GPU backends run: torch devices, what kind of GPU one is, and Triton's interpreter."""

from __future__ import annotations

from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from fastclust_kernels.errors import BackendError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import torch

    from fastclust_kernels.dispatch import Request

__all__ = ["architecture_of", "cuda_asks", "device_for_kernels", "device_of", "interpreted", "launches", "triton_asks"]

_Returned = TypeVar("_Returned")


def device_of(device: Any, instead: str = "a backend of the CPU") -> torch.device:
    """Return the torch device; None is the GPU.

    Raises BackendError where there is none, which names what may be asked for ``instead``, InputError for no device.
    """
    import torch

    try:
        found = torch.device("cuda" if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise InputError("device", repr(device), "cuda, cuda:0, ..., or cpu") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            f"device {str(found)!r}: torch {torch.__version__} sees no CUDA GPU here. "
            f"Allowed: {instead}, or a machine with a GPU and a CUDA build of torch."
        )
    return found


def device_for_kernels() -> torch.device:
    """Return where the kernels take arrays of the host: the GPU if there is one, else the CPU, for the interpreter."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def architecture_of(device: torch.device) -> str:
    """Return what kind of GPU it is, such as "sm_90"; empty for the CPU."""
    import torch

    if device.type != "cuda":
        return ""
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def interpreted() -> bool:
    """Whether Triton's kernels run in its interpreter."""
    from triton import knobs

    return bool(knobs.runtime.interpret)


def cuda_asks(request: Request) -> list[str]:
    """Why CUDA C++ cannot run here: nothing stands for a GPU."""
    del request
    import torch

    return [] if torch.cuda.is_available() else ["needs a CUDA GPU"]


def launches(function: Callable[..., _Returned]) -> Callable[..., _Returned]:
    """Make the GPU on which the first tensor among the arguments lies the current one while ``function`` runs.

    Triton and CuPy launch on the current device, wherever the memory is that they are given.
    """

    @wraps(function)
    def there(*given: Any, **named: Any) -> _Returned:
        import torch

        device = next(_tensors((*given, *named.values()))).device
        if device.type == "cpu":
            return function(*given, **named)
        with torch.cuda.device(device):
            return function(*given, **named)

    return there


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    import torch

    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple):
            yield from _tensors(value)


def triton_asks(request: Request) -> list[str]:
    """Why Triton's kernels cannot run a request: they need a GPU, or the interpreter."""
    if request.device == "cuda" or find_spec("triton") is None:
        return []
    return [] if interpreted() else ["needs a CUDA GPU, or TRITON_INTERPRET=1"]
