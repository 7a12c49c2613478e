"""Comparisons of 32 scores with floors, inside Numba functions: LLVM's vectors, which every processor takes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastclust_kernels._whole import store_whole

__all__ = ["LANES", "at_floor", "at_floors", "count_at_least", "raise_bests"]

#: Numbers that are compared together.
LANES = 32

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


def _address(context: Any, builder: Any, kind: Any, value: Any, place: Any) -> Any:
    """Pointer to the vector from number ``place`` of an array on."""
    data = cgutils.create_struct_proxy(kind)(context, builder, value).data
    return builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer())


def _load(context: Any, builder: Any, kind: Any, value: Any, place: Any) -> Any:
    loaded = builder.load(_address(context, builder, kind, value, place))
    loaded.align = 4
    return loaded


def _spread(builder: Any, value: Any) -> Any:
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))


def _bits(builder: Any, condition: Any) -> Any:
    return builder.zext(builder.bitcast(condition, ir.IntType(LANES)), _I64)


@intrinsic
def at_floor(typingctx, products, place, halves, column, floor):  # type: ignore[no-untyped-def]
    """Bit by bit, which of 32 scores ``products[place:] - halves[column:]`` are not below ``floor``."""
    signature = types.int64(products, types.intp, halves, types.intp, types.float32)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        product = _load(context, builder, signature.args[0], values[0], values[1])
        score = builder.fsub(product, _load(context, builder, signature.args[2], values[2], values[3]))
        return _bits(builder, builder.fcmp_ordered(">=", score, _spread(builder, values[4])))

    return signature, generate


@intrinsic
def at_floors(typingctx, products, place, half, floors, row):  # type: ignore[no-untyped-def]
    """Bit by bit, which of 32 scores ``products[place:] - half`` are not below ``floors[row:]``."""
    signature = types.int64(products, types.intp, types.float32, floors, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        product = _load(context, builder, signature.args[0], values[0], values[1])
        score = builder.fsub(product, _spread(builder, values[2]))
        floors = _load(context, builder, signature.args[3], values[3], values[4])
        return _bits(builder, builder.fcmp_ordered(">=", score, floors))

    return signature, generate


@intrinsic
def raise_bests(typingctx, products, place, halves, column, bests, at):  # type: ignore[no-untyped-def]
    """Put 32 scores ``products[place:] - halves[column:]`` into ``bests[at:]`` where they are above it."""
    signature = types.void(products, types.intp, halves, types.intp, bests, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        product = _load(context, builder, signature.args[0], values[0], values[1])
        score = builder.fsub(product, _load(context, builder, signature.args[2], values[2], values[3]))
        best = _load(context, builder, signature.args[4], values[4], values[5])
        larger = builder.select(builder.fcmp_ordered(">", score, best), score, best)
        store_whole(builder, larger, _address(context, builder, signature.args[4], values[4], values[5]), align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def count_at_least(typingctx, numbers, place, least):  # type: ignore[no-untyped-def]
    """How many of 32 numbers from ``place`` on are not below ``least``."""
    signature = types.int64(numbers, types.intp, types.float32)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        vector = _load(context, builder, signature.args[0], values[0], values[1])
        return builder.ctpop(_bits(builder, builder.fcmp_ordered(">=", vector, _spread(builder, values[2]))))

    return signature, generate
