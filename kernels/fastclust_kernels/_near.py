"""Rows that will be read soon, brought into the cache meanwhile."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["bring_near", "prefetch"]

#: Bytes of a line of the cache.
_LINE = 64
_I32 = ir.IntType(32)


def prefetch(builder: Any, address: Any, level: int) -> None:
    """Ask for the line at an address (int64) to be brought into the cache of a level: 1, 2 or 3."""
    pointer = builder.inttoptr(address, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    # To be read; LLVM counts nearness, 3 being the nearest; data, not instructions.
    builder.call(function, [pointer, ir.Constant(_I32, 0), ir.Constant(_I32, 4 - level), ir.Constant(_I32, 1)])


@intrinsic
def _bring_line(typingctx, address):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        prefetch(builder, values[0], 1)
        return context.get_dummy_value()

    return types.void(types.int64), generate


@numba.njit(cache=True)
def bring_near(address, size):  # type: ignore[no-untyped-def]
    """Bring ``size`` bytes from ``address`` on near."""
    for offset in range(0, size, _LINE):
        _bring_line(address + offset)
