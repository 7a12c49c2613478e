"""A stand-in for a GPU: a torch device "there" whose tensors are worked on by the CPU, to the CPU's bits.

What a GPU would refuse raises here: an operation on tensors of the host and of the device. Where a GPU would be waited
for is noted in ``WAITS``: numbers asked for, copies to the host, copies to the device that do not go behind its work.

Loaded in a process of its own: the device stays registered.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

__all__ = ["DEVICE", "WAITS", "There"]

_setup_privateuseone_for_python_backend("there")
DEVICE = torch.device("there:0")

#: Operations since it was last cleared whose answer the host needs.
WAITS: list[str] = []
#: They say how much there is of something that only the device knows, or what it is.
_ASKS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2")
#: They may have operands of both.
_BOTH = ("aten::_to_copy", "aten::copy_")
#: Indices of the host are copied to the device, and waited for.
_INDEX = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class There(torch.Tensor):
    """A tensor of the device; ``held`` is the CPU's that does its work."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Self:
        made: Self = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.name().split(".")[0]
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        strangers = [each for each in tensors if not isinstance(each, There) and each.dim() > 0]
        if strangers and name in _INDEX and isinstance(args[0], There):
            WAITS.append(f"{name} by indices of the host")
        elif strangers and name not in _BOTH:
            raise RuntimeError(f"{name}: tensors of the host and of the device")
        stays = True
        if name == "aten::_to_copy":
            stays = kwargs.get("device") is None or torch.device(kwargs["device"]).type == "there"
            if not stays:
                WAITS.append("a copy to the host")
        if name == "aten::copy_" and not (isinstance(args[0], There) and isinstance(args[1], There)):
            waits = len(args) < 3 or not args[2]
            if waits or not isinstance(args[0], There):
                WAITS.append("a copy to the device" if isinstance(args[0], There) else "a copy to the host")
        if name in _ASKS:
            WAITS.append(name)
        given = {
            key: torch.device("cpu") if key == "device" and value is not None else value
            for key, value in kwargs.items()
        }
        found = func(*tree_map(_held, args), **tree_map(_held, given))
        if name.endswith("_") and not name.endswith("__") and isinstance(args[0], torch.Tensor):
            return args[0]
        return tree_map(_made, found) if stays else found


def _held(value: Any) -> Any:
    return value.held if isinstance(value, There) else value


def _made(value: Any) -> Any:
    return There(value) if isinstance(value, torch.Tensor) and not isinstance(value, There) else value


def _empty(size: Any, *_: Any, dtype: torch.dtype | None = None, **__: Any) -> There:
    return There(torch.empty(size, dtype=dtype, device="cpu"))


def _empty_strided(size: Any, stride: Any, *, dtype: torch.dtype | None = None, **_: Any) -> There:
    return There(torch.empty_strided(size, stride, dtype=dtype, device="cpu"))


_library = torch.library.Library("aten", "IMPL")
_library.impl("empty.memory_format", _empty, "PrivateUse1")
_library.impl("empty_strided", _empty_strided, "PrivateUse1")
