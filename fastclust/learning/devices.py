"""Where a net is trained and asked: the CPU, or a GPU by torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fastclust.errors import BackendError, InputError
from fastclust_kernels.devices import device_of

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["choose_device", "resident", "sent", "where"]

#: Share of a GPU's memory that what stays there for a training may take; more stays on the host, and batches are sent.
_SHARE = 0.3


def choose_device(device: str) -> torch.device:
    """Return the device of a name; "auto" is the CPU, as no training on a GPU has been timed.

    Raises BackendError where there is none, InputError for what is no device.
    """
    if device in ("auto", "cpu"):
        return torch.device("cpu")
    if not isinstance(device, str):
        raise InputError("device", repr(device), "auto, cpu, cuda, cuda:0, ...")
    found = device_of(device, 'device="cpu"')
    try:
        module = torch.get_device_module(found)
    except RuntimeError as error:
        raise BackendError(f"device={device!r}: {error}. Allowed: auto, cpu, cuda, cuda:0, ...") from error
    if not module.is_available() or (found.index or 0) >= module.device_count():
        raise BackendError(
            f"device={device!r}: there are {module.device_count()} here. Allowed: auto, cpu, or one of them."
        )
    return found


def where(module: nn.Module) -> torch.device:
    """Return the device that a module's weights are on."""
    return next(module.parameters()).device


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor there; to a GPU it goes behind what is at work there, and nobody waits for it."""
    if tensor.device == device or device.type == "cpu":
        return tensor.to(device)
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def resident(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on the device if it is small for it, else as it is: batches of it are sent then."""
    if device.type == "cuda":
        most = _SHARE * torch.cuda.get_device_properties(device).total_memory
        if tensor.numel() * tensor.element_size() > most:
            return tensor
    return tensor.to(device)
