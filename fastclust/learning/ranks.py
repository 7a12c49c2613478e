"""Many processes that train one net (torchrun, Ray): who does which batch, and what they agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed

from fastclust.errors import FastclustError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = ["average_gradients", "each", "from_first", "joined", "rank", "same_buffers", "world"]

_T = TypeVar("_T")


def joined() -> bool:
    """Whether this process is in a group that its caller initialised."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Return this process's number; 0 outside a group."""
    return distributed.get_rank() if joined() else 0


def world() -> int:
    """Return the number of processes in the group that the caller initialised; 1 outside a group."""
    return distributed.get_world_size() if joined() else 1


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


def each(value: _T) -> list[_T]:
    """Return what every process has here, by number."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    distributed.all_gather_object(found, value)
    return found


def from_first(compute: Callable[[], _T]) -> _T:
    """Return what ``compute`` gives in the first process, to all of them; all raise the error of ours that it raises.

    What takes long is then done once, and is the same on machines whose last bits differ.
    """
    if world() == 1:
        return compute()
    held: list[Any] = [None]
    if rank() == 0:
        try:
            held = [(compute(), None)]
        except FastclustError as error:
            held = [(None, error)]
    distributed.broadcast_object_list(held, 0)
    value, failed = held[0]
    if failed is not None:
        raise failed
    found: _T = value
    return found
