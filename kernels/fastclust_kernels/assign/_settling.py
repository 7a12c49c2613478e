"""What is kept of 8 rows, lane by lane, turned into bounds: each lane is a part of a group of centres."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastclust_kernels.assign._limits import DOWN, put
from fastclust_kernels.assign._vectors import I32, I64, INDEX, TILE, Vectors

__all__ = ["bound_below", "settle_parts"]


def bound_below(make: Vectors, score: Any, base: Any, slack: Any) -> Any:
    """Distances that are surely not above those of these scores.

    ``sqrt(base - 2 s) - slack``, rounded to float32 and down: README.md, Bounds between iterations.
    """
    builder, lanes = make.builder, score.type.count

    def constant(number: float) -> Any:
        return make.spread(ir.Constant(make.scalar, number), lanes)

    base, slack = (value if value.type == score.type else make.spread(value, lanes) for value in (base, slack))
    value = make.call("llvm.fma", constant(-2.0), score, base)
    # Ordered: what is no number gives the bound 0.
    positive = builder.fcmp_ordered(">", value, constant(0.0))
    root = make.call("llvm.sqrt", builder.select(positive, value, constant(0.0)))
    away = builder.fsub(builder.fmul(root, constant(DOWN)), slack)
    single = ir.VectorType(ir.FloatType(), lanes)
    if away.type != single:
        away = builder.fptrunc(away, single)
    return builder.fmul(away, make.spread(ir.Constant(ir.FloatType(), DOWN), lanes))


@intrinsic
def settle_parts(typingctx, best, second, where, base, slack, places, first, count, lanes, turns, tops, nexts, others):  # type: ignore[no-untyped-def]
    """Write the bounds of 8 rows on 16 parts, and what is needed to choose among parts.

    ``best``, ``second`` and ``where`` are as ``keep_best`` leaves them, one lane a part; ``base`` and ``slack`` ``[8]``
    have their dtype, and ``places`` (int64 ``[8]``) are the addresses of the rows' bounds (float32), of which those
    from ``first`` on and below ``count`` are written. Of each row, ``lanes`` and ``turns`` (int32 ``[8]``) get the
    lowest lane with the best score and its number in ``where``, ``tops`` that score, ``nexts`` the second best of that
    lane and ``others`` the best of the other lanes.
    """
    signature = types.void(
        best, second, where, base, slack, places, types.intp, types.intp, lanes, turns, tops, nexts, others
    )  # fmt: skip

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, best.dtype)
        bests, seconds, numbers = make.address(0, make.vector), make.address(1, make.vector), make.address(2, INDEX)
        bases, slacks, targets = make.address(3, make.scalar), make.address(4, make.scalar), make.address(5, I64)
        never = make.spread(ir.Constant(I32, 2**31 - 1))
        offset = builder.mul(make.value(6), ir.Constant(I64, 4))
        single = ir.VectorType(ir.FloatType(), make.vector.count)
        for row in range(TILE):
            score = make.load(bests, row, align=make.size)
            bound = bound_below(
                make, score, make.load(bases, row, align=make.size), make.load(slacks, row, align=make.size)
            )
            target = builder.add(make.load(targets, row, align=8), offset)
            target = builder.inttoptr(target, single.as_pointer())
            put(make, bound, target, make.value(6), make.value(7))
            top = make.fold(score, make.larger)
            equal = builder.fcmp_ordered("==", score, make.spread(top))
            lane = make.fold(builder.select(equal, make.count, never), make.smaller_lane)
            own = builder.icmp_signed("==", make.count, make.spread(lane))
            beside = builder.select(own, make.load(seconds, row, align=make.size), make.least)
            number = builder.select(own, make.load(numbers, row, align=4), never)
            make.store(lane, make.address(8, I32), row, align=4)
            make.store(make.fold(number, make.smaller_lane), make.address(9, I32), row, align=4)
            make.store(top, make.address(10, make.scalar), row, align=make.size)
            make.store(make.fold(beside, make.larger), make.address(11, make.scalar), row, align=make.size)
            left = builder.select(own, make.least, score)
            make.store(make.fold(left, make.larger), make.address(12, make.scalar), row, align=make.size)
        return context.get_dummy_value()

    return signature, generate
