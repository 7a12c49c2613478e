"""The operations for rows that lie on a GPU or are to go there: check, choose, call."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastclust_kernels import arrays, checks, tensors
from fastclust_kernels.dispatch import choose
from fastclust_kernels.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.dispatch import Backend

__all__ = ["nearest", "paired", "pairs", "to_components"]

#: Distances that are made at a time for an ``out`` in host memory.
_ENTRIES = 1 << 26


class _Call:
    """Two sets of rows on the device, W in host memory, and the backend."""

    def __init__(self, table: tuple[Backend, ...], X: Any, Y: Any, factor: Any, backend: str) -> None:
        self.kind = tensors.Kind(X)
        self.X = tensors.tensor(X, "X", self.kind.device)
        self.Y = self.X if Y is X else tensors.tensor(Y, "Y", self.kind.device).to(self.X.dtype)
        checks.check_same_width(self.X, self.Y, ("X", "Y"))
        self.dtype = result_of(self.X)
        self.factor = _factor(factor, self.X.shape[1])
        self.backend = choose("mahalanobis", table, tensors.request_for(self.X), backend)
        self.run: Any = self.backend.run


def result_of(rows: torch.Tensor) -> torch.dtype:
    """The dtype of distances of these rows: theirs, or float32 for what has fewer bits."""
    return torch.float64 if rows.dtype == torch.float64 else torch.float32


def _factor(factor: Any, width: int) -> NDArray[np.float64]:
    lies_there = isinstance(factor, torch.Tensor)
    matrix = np.ascontiguousarray(factor.cpu() if lies_there else arrays.to_numpy(factor, "factor"), np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != width or not matrix.shape[1]:
        raise InputError("factor", f"shape {matrix.shape}", f"({width}, rank)")
    checks.check_finite(matrix, "factor")
    return matrix


def pairs(
    table: tuple[Backend, ...], X: Any, Y: Any, factor: Any, *, squared: bool, backend: str, out: Any
) -> tuple[Any, str]:
    """Do what :func:`fastclust_kernels.mahalanobis.pairs` does."""
    call = _Call(table, X, Y, factor, backend)
    shape = len(call.X), len(call.Y)
    if out is not None and _in_host_memory(out):
        target = host_target(out, shape, call.dtype)
        step = max(1, _ENTRIES // shape[1])
        for start in range(0, shape[0], step):
            rows = call.X[start : start + step]
            part = torch.empty(len(rows), shape[1], dtype=call.dtype, device=rows.device)
            call.run.pairs(rows, call.Y, call.factor, part, squared=squared)
            target[start : start + step] = part.cpu().numpy()
        return out, call.backend.name
    found = (
        torch.empty(shape, dtype=call.dtype, device=call.X.device)
        if out is None
        else device_target(out, shape, call.dtype, call.X.device)
    )
    call.run.pairs(call.X, call.Y, call.factor, found, squared=squared)
    return (call.kind.back(found) if out is None else out), call.backend.name


def paired(table: tuple[Backend, ...], X: Any, Y: Any, factor: Any, *, squared: bool, backend: str) -> tuple[Any, str]:
    """Do what :func:`fastclust_kernels.mahalanobis.paired` does."""
    call = _Call(table, X, Y, factor, backend)
    if len(call.X) != len(call.Y):
        raise InputError("Y", f"{len(call.Y)} rows", f"{len(call.X)}, as in X")
    total = call.run.paired(call.X, call.Y, call.factor)
    return call.kind.back((total if squared else total.sqrt()).to(call.dtype)), call.backend.name


def nearest(
    table: tuple[Backend, ...],
    X: Any,
    Y: Any,
    factor: Any,
    n_neighbors: Any,
    *,
    others_only: bool,
    squared: bool,
    backend: str,
) -> tuple[Any, Any, str]:
    """Do what :func:`fastclust_kernels.mahalanobis.nearest` does."""
    call = _Call(table, X, Y, factor, backend)
    check_neighbors(n_neighbors, len(call.Y) - bool(others_only))
    total, numbers = call.run.nearest(call.X, call.Y, call.factor, int(n_neighbors), others_only=others_only)
    distances = (total if squared else total.sqrt()).to(call.dtype)
    return call.kind.back(distances), call.kind.back(numbers), call.backend.name


def to_components(
    table: tuple[Backend, ...], X: Any, means: Any, factors: Any, *, squared: bool, backend: str, out: Any
) -> Any:
    """Do what :func:`fastclust_kernels.mahalanobis.to_components` does."""
    kind = tensors.Kind(X)
    rows = tensors.tensor(X, "X", kind.device)
    centers = tensors.tensor(means, "means", kind.device).double()
    checks.check_same_width(rows, centers, ("X", "means"))
    stack = tensors.vector(factors, "factors", kind.device).double().contiguous()
    k, d = centers.shape
    if stack.ndim != 3 or tuple(stack.shape[:2]) != (k, d) or not stack.shape[2]:
        raise InputError("factors", f"shape {tuple(stack.shape)}", f"({k}, {d}, rank)")
    tensors.check_finite(stack, "factors")
    asked = replace(tensors.request_for(rows), columns=max(stack.shape[1:]))
    chosen: Any = choose("components", table, asked, backend).run
    shape, dtype = (len(rows), k), result_of(rows)
    if out is not None and _in_host_memory(out):
        target = host_target(out, shape, dtype)
        step = max(1, _ENTRIES // k)
        for start in range(0, shape[0], step):
            part = torch.empty(min(step, shape[0] - start), k, dtype=dtype, device=rows.device)
            chosen.to_components(rows[start : start + step], centers, stack, part, squared=squared)
            target[start : start + step] = part.cpu().numpy()
        return out
    found = (
        torch.empty(shape, dtype=dtype, device=rows.device)
        if out is None
        else device_target(out, shape, dtype, rows.device)
    )
    chosen.to_components(rows, centers, stack, found, squared=squared)
    return kind.back(found) if out is None else out


def check_neighbors(n_neighbors: Any, most: int) -> None:
    """Raise InputError, InputTypeError unless so many neighbours can be."""
    if isinstance(n_neighbors, bool) or not isinstance(n_neighbors, (int, np.integer)):
        raise InputTypeError("n_neighbors", repr(n_neighbors), "an integer")
    if not 1 <= n_neighbors <= most:
        raise InputError("n_neighbors", str(n_neighbors), f"1 to {most}, the rows to look among")


def _in_host_memory(out: Any) -> bool:
    return not tensors.wanted("", out)


def host_target(out: Any, shape: tuple[int, int], dtype: torch.dtype) -> NDArray[Any]:
    """``out`` as a NumPy array that can be written to. Raises InputError."""
    target = arrays.to_numpy(out, "out")
    wanted = str(dtype).removeprefix("torch.")
    right = target.shape == shape and target.dtype == np.dtype(wanted)
    if not right or not target.flags.c_contiguous or not target.flags.writeable:
        raise InputError("out", f"{target.dtype} {target.shape}", f"writable, C-contiguous {wanted} {shape}")
    return target


def device_target(out: Any, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """``out`` as a tensor on the device that can be written to, the same memory. Raises InputError."""
    target: torch.Tensor = out if isinstance(out, torch.Tensor) else torch.utils.dlpack.from_dlpack(out)
    right = tuple(target.shape) == shape and target.dtype == dtype and target.device == device
    if not right or not target.is_contiguous():
        came = f"{target.dtype} {tuple(target.shape)} on {target.device}"
        raise InputError("out", came, f"C-contiguous {dtype} {shape} on {device}")
    return target
