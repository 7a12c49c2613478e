"""Bounds of one row on all groups, 16 at a time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastclust_kernels._whole import store_whole
from fastclust_kernels.assign._vectors import I32, I64, PANEL, Vectors

__all__ = ["DOWN", "fall", "least_after", "lowest", "masked", "put", "there", "within"]

#: Takes two float32 roundings off a number, and some.
DOWN = 1 - 2.0**-22


def there(make: Vectors, first: Any, count: Any) -> Any:
    """Which of the 16 lanes from ``first`` on are below ``count``."""
    left = make.builder.trunc(make.builder.sub(count, first), I32)
    return make.builder.icmp_signed("<", make.count, make.spread(left))


def masked(make: Vectors, operation: str, parts: tuple[Any, ...]) -> Any:
    """``llvm.masked.load`` or ``.store``: lanes that are not there are not touched."""
    result = ir.VoidType() if operation == "store" else ir.VectorType(ir.FloatType(), PANEL)
    name = f"llvm.masked.{operation}.v{PANEL}f32.p0"
    kinds = [part.type for part in parts]
    function = cgutils.get_or_insert_function(make.builder.module, ir.FunctionType(result, kinds), name)
    return make.builder.call(function, parts)


def put(make: Vectors, vector: Any, place: Any, first: Any, count: Any) -> None:
    """Store the lanes from ``first`` on that are below ``count``: as a whole where that is all of them (_whole.py)."""
    builder, align = make.builder, ir.Constant(I32, 4)
    whole = builder.icmp_signed("<=", builder.add(first, ir.Constant(I64, PANEL)), count)
    with builder.if_else(whole, likely=True) as (all_of_them, some):
        with all_of_them:
            store_whole(builder, vector, place, align=4)
        with some:
            masked(make, "store", (vector, place, align, there(make, first, count)))


def _faller(number: types.Float, *, keeps: bool) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, number)
        align, none = ir.Constant(I32, 4), ir.Constant(make.vector, [float("inf")] * PANEL)
        down = make.spread(ir.Constant(make.scalar, DOWN))
        kept, gone = make.address(0, make.scalar), make.address(1, make.scalar)
        least = cgutils.alloca_once_value(builder, none)
        builder.store(none, least)
        with cgutils.for_range_slice(builder, ir.Constant(I64, 0), make.value(2), ir.Constant(I64, PANEL)) as (
            first,
            _,
        ):
            exist = there(make, first, make.value(2))
            place = builder.bitcast(builder.gep(kept, [first]), make.vector.as_pointer())
            other = builder.bitcast(builder.gep(gone, [first]), make.vector.as_pointer())
            bound = masked(make, "load", (place, align, exist, none))
            drift = masked(make, "load", (other, align, exist, none))
            bound = builder.fmul(builder.fsub(bound, drift), down)
            if keeps:
                put(make, bound, place, first, make.value(2))
            smaller = builder.and_(exist, builder.fcmp_ordered("<", bound, builder.load(least)))
            builder.store(builder.select(smaller, bound, builder.load(least)), least)
        smaller = lambda one, other: builder.select(builder.fcmp_ordered("<", one, other), one, other)  # noqa: E731
        return make.fold(builder.load(least), smaller)

    return generate


@intrinsic
def fall(typingctx, lower, drifts, count):  # type: ignore[no-untyped-def]
    """Take ``drifts`` off ``lower`` (float32, ``count`` of each), rounded down, in place; return the least."""
    return types.float32(lower, drifts, types.intp), _faller(lower.dtype, keeps=True)


@intrinsic
def least_after(typingctx, lower, drifts, count):  # type: ignore[no-untyped-def]
    """What :func:`fall` returns, with ``lower`` left as it is."""
    return types.float32(lower, drifts, types.intp), _faller(lower.dtype, keeps=False)


@intrinsic
def within(typingctx, lower, first, count, limit):  # type: ignore[no-untyped-def]
    """Bit by bit, which of the 16 bounds from ``first`` on ``limit`` does not lie below; none from ``count`` on."""
    signature = types.int64(lower, types.intp, types.intp, types.float32)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, lower.dtype)
        exist = there(make, make.value(1), make.value(2))
        place = builder.bitcast(builder.gep(make.address(0, make.scalar), [make.value(1)]), make.vector.as_pointer())
        none = ir.Constant(make.vector, [0.0] * PANEL)
        bound = masked(make, "load", (place, ir.Constant(I32, 4), exist, none))
        # Unordered: a bound that is no number is no bound.
        reached = builder.and_(exist, builder.fcmp_unordered("<=", bound, make.spread(make.value(3))))
        return builder.zext(builder.bitcast(reached, ir.IntType(PANEL)), I64)

    return signature, generate


@intrinsic
def lowest(typingctx, bits):  # type: ignore[no-untyped-def]
    """The number of the lowest bit set."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate
