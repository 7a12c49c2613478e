"""The teacher: a moving average of the student."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from torch import nn

__all__ = ["follow", "teacher_of"]

Module = TypeVar("Module", bound="nn.Module")


def teacher_of(student: Module) -> Module:
    """Return a copy of the student that gets no gradient."""
    return copy.deepcopy(student).requires_grad_(requires_grad=False)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher to momentum * teacher + (1 - momentum) * student, by names; buffers are copied."""
    weights = dict(student.named_parameters())
    for name, value in teacher.named_parameters():
        value.lerp_(weights[name], 1 - momentum)
    buffers = dict(student.named_buffers())
    for name, buffer in teacher.named_buffers():
        buffer.copy_(buffers[name])
