"""Checks of what losses are given: shapes only, so that nothing waits for the device."""

from __future__ import annotations

from torch import Tensor

from fastclust.errors import InputError, InputTypeError

__all__ = ["check_matrix", "check_same_length"]


def check_matrix(name: str, value: Tensor) -> None:
    """Raise unless ``value`` is a floating tensor ``[N >= 1, d >= 1]``."""
    if not isinstance(value, Tensor):
        raise InputTypeError(name, type(value).__name__, "a torch tensor")
    if value.ndim != 2 or 0 in value.shape:
        raise InputError(name, f"shape {tuple(value.shape)}", "[N, d], neither empty")
    if not value.is_floating_point():
        raise InputTypeError(name, str(value.dtype), "a floating dtype")


def check_same_length(name: str, value: Tensor, rows: int) -> None:
    """Raise unless ``value`` is ``[rows]``."""
    if value.shape != (rows,):
        raise InputError(name, f"shape {tuple(value.shape)}", f"({rows},)")
