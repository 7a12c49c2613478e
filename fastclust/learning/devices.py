"""Where a net is trained and asked: the CPU, or a GPU by torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fastclust.errors import BackendError, InputError
from fastclust_kernels.devices import device_of

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Residence", "choose_device", "memory_of", "sent", "where", "why_not_there"]

_ALLOWED = "auto, cpu, cuda, cuda:0, ..."
#: Share of a GPU's memory that what stays there for a training may take; more stays on the host, and batches are sent.
_SHARE = 0.3


def choose_device(device: str) -> torch.device:
    """Return the device of a name; "auto" is the CPU, as no training on a GPU has been timed.

    Raises BackendError where there is none, InputError for what is no device.
    """
    if isinstance(device, torch.device):
        device = str(device)
    if not isinstance(device, str):
        raise InputError("device", repr(device), _ALLOWED)
    if device in ("auto", "cpu"):
        return torch.device("cpu")
    found = device_of(device, 'device="cpu"')
    if found.type == "cpu":
        return torch.device("cpu")
    if found.type == "mps":
        raise BackendError(f"device={device!r}: losses are added up in float64, which it has not. Allowed: {_ALLOWED}.")
    try:
        module = torch.get_device_module(found)
    except RuntimeError as error:
        raise BackendError(f"device={device!r}: {error}. Allowed: {_ALLOWED}.") from error
    if not module.is_available() or (found.index or 0) >= module.device_count():
        raise BackendError(
            f"device={device!r}: there are {module.device_count()} here. Allowed: auto, cpu, or one of them."
        )
    return found


def why_not_there() -> list[str]:
    """Why "auto" trains on no GPU here."""
    try:
        choose_device("cuda")
    except BackendError as error:
        return [str(error)]
    return ["no training on a GPU was timed; runs with device='cuda'"]


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


class Residence:
    """What of the host's tensors stays on a device for a training: those that are small for it, together.

    Parameters
    ----------
    device
        Where the net is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._room = _SHARE * memory_of(device)
        self._there: list[tuple[Tensor, Tensor]] = []

    def take(self, tensor: Tensor) -> Tensor:
        """Return the tensor there if there is room, else as it is: batches of it are sent then.

        A tensor that comes again is there once.
        """
        for known, there in self._there:
            if known is tensor:
                return there
        size = tensor.numel() * tensor.element_size()
        if size > self._room:
            return tensor
        self._room -= size
        self._there.append((tensor, tensor.to(self.device)))
        return self._there[-1][1]


def memory_of(device: torch.device) -> float:
    """Return the bytes that a device has; the CPU holds what there is."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float("inf")
