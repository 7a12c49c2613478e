"""Many processes that train one net (torchrun): who does which batch, and what they agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import distributed

if TYPE_CHECKING:
    from torch import nn

__all__ = ["average_gradients", "rank", "same_buffers", "world"]


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Return this process's number; 0 outside a group."""
    return distributed.get_rank() if _joined() else 0


def world() -> int:
    """Return the number of processes in the group that the caller initialised; 1 outside a group."""
    return distributed.get_world_size() if _joined() else 1


def average_gradients(module: nn.Module) -> None:
    """Bring each gradient to its mean over the processes, in one message."""
    if world() == 1:
        return
    slopes = [value.grad for value in module.parameters() if value.grad is not None]
    flat = torch.cat([slope.reshape(-1) for slope in slopes])
    distributed.all_reduce(flat)
    flat /= world()
    start = 0
    for slope in slopes:
        slope.copy_(flat[start : start + slope.numel()].view_as(slope))
        start += slope.numel()


def same_buffers(module: nn.Module) -> None:
    """Give every process the buffers of the first: their running statistics saw different batches."""
    if world() > 1:
        for buffer in module.buffers():
            distributed.broadcast(buffer, 0)
