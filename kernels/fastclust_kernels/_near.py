"""Rows that will be read soon, brought into the cache meanwhile."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["bring_near"]

#: Bytes of a line of the cache.
_LINE = 64
_I32 = ir.IntType(32)


@intrinsic
def _bring_line(typingctx, address):  # type: ignore[no-untyped-def]
    """Ask for the line at an address (int64) to be brought into the cache."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, ir.Constant(_I32, 0), ir.Constant(_I32, 3), ir.Constant(_I32, 1)])
        return _context.get_dummy_value()

    return types.void(types.int64), generate


@numba.njit(cache=True)
def bring_near(address, size):  # type: ignore[no-untyped-def]
    """Bring ``size`` bytes from ``address`` on near."""
    for offset in range(0, size, _LINE):
        _bring_line(address + offset)
