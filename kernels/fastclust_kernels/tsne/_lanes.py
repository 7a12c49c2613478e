"""The pull of neighbours on 16 points at once, a neighbour of each at a time, written as LLVM vectors."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastclust_kernels.tsne._butterflies import LANES

__all__ = ["pull_of_slice"]

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_VECTOR, _ORDER = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(_I32, LANES)
_POINTS = ir.VectorType(_I64, LANES)
_FLAGS = ("contract",)


@intrinsic
def pull_of_slice(typingctx, points, indices, values, start, end, own, sums):  # type: ignore[no-untyped-def]
    """``sum_k p_k w_k (x - x_k, y - y_k)`` of 16 points, each over the entries of its lane.

    ``points`` is uint64 ``[n]``: a point's two float32 as one number. ``indices`` (uint32) and ``values`` (float32) are
    flat, entry k of lane j at ``16 k + j``, k from ``start`` to ``end``. ``own`` and ``sums`` are float32 ``[2, 16]``:
    x and y of the points, and what comes out.
    """
    signature = types.void(points, indices, values, types.intp, types.intp, own, sums)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        arrays = [context.make_array(signature.args[at])(context, builder, given[at]).data for at in (0, 1, 2, 5, 6)]
        points = builder.bitcast(arrays[0], _I64.as_pointer())
        own, sums = (
            [_at(builder, array, ir.Constant(_I64, axis * LANES)) for axis in range(2)] for array in arrays[3:]
        )
        x = [_load(builder, each) for each in own]
        before, body, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(body)
        builder.position_at_end(body)
        k = builder.phi(_I64)
        totals = [builder.phi(_VECTOR) for _ in range(2)]
        first = builder.mul(k, ir.Constant(_I64, LANES))
        others = _gather(builder, points, arrays[1], first)
        found = _add(builder, x, totals, _load(builder, _at(builder, arrays[2], first)), others)
        following = builder.add(k, ir.Constant(_I64, 1))
        for each, begun, later in zip(
            (k, *totals), (given[3], *[ir.Constant(_VECTOR, [0.0] * LANES)] * 2), (following, *found), strict=True
        ):
            each.add_incoming(begun, before)
            each.add_incoming(later, body)
        builder.cbranch(builder.icmp_signed("<", following, given[4]), body, after)
        builder.position_at_end(after)
        for total, place in zip(found, sums, strict=True):
            builder.store(total, place).align = 4
        return context.get_dummy_value()

    return signature, generate


def _at(builder: Any, array: Any, place: Any) -> Any:
    return builder.bitcast(builder.gep(array, [place]), _VECTOR.as_pointer())


def _load(builder: Any, pointer: Any) -> Any:
    vector = builder.load(pointer)
    vector.align = 4
    return vector


def _gather(builder: Any, points: Any, indices: Any, first: Any) -> Any:
    """Points of 16 neighbours, 64 bits each, one by one: processors' gathering loads are slower, some of them much."""
    found: Any = ir.Constant(_POINTS, ir.Undefined)
    for lane in range(LANES):
        number = builder.load(builder.gep(indices, [builder.add(first, ir.Constant(_I64, lane))]))
        point = builder.load(builder.gep(points, [builder.zext(number, _I64)]))
        found = builder.insert_element(found, point, ir.Constant(_I32, lane))
    return found


def _add(builder: Any, own: list[Any], totals: list[Any], p: Any, others: Any) -> list[Any]:
    flat = builder.bitcast(others, ir.VectorType(ir.FloatType(), 2 * LANES))
    apart, squares = [], ir.Constant(_VECTOR, [1.0] * LANES)
    for axis, mine in enumerate(own):
        order = ir.Constant(_ORDER, list(range(axis, 2 * LANES, 2)))
        other = builder.shuffle_vector(flat, ir.Constant(flat.type, ir.Undefined), order)
        apart.append(builder.fsub(mine, other))
        squares = builder.fadd(squares, builder.fmul(apart[-1], apart[-1], flags=_FLAGS), flags=_FLAGS)
    weight = builder.fdiv(p, squares)
    return [
        builder.fadd(total, builder.fmul(weight, each, flags=_FLAGS), flags=_FLAGS)
        for total, each in zip(totals, apart, strict=True)
    ]
