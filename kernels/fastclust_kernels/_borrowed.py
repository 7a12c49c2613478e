"""Arrays whose references Numba does not count.

A slice of an array in a compiled loop adds and takes off a reference, atomically: 20 cycles each, more than the work on
a few numbers. A borrowed array has nothing to count; whoever lends it keeps it for as long as it is used.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["borrowed"]


@intrinsic
def borrowed(typingctx, array):  # type: ignore[no-untyped-def]
    """Return the same array without its owner."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = signature.args[0]
        lent = cgutils.create_struct_proxy(kind)(context, builder, values[0])
        lent.meminfo = ir.Constant(lent.meminfo.type, None)
        lent.parent = ir.Constant(lent.parent.type, None)
        return lent._getvalue()  # noqa: SLF001 - Numba's own name for it

    return array(array), generate
