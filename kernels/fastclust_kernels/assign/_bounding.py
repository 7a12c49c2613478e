"""Scores of a tile against one group of centres, and the lower bounds on distances that follow from them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastclust_kernels.assign._limits import masked, put, there
from fastclust_kernels.assign._settling import bound_below
from fastclust_kernels.assign._vectors import I32, I64, PANEL, TILE, Vectors

__all__ = ["PARTS", "score_and_bound", "tighten", "tighten_by_two"]

#: Into how many parts a group may be divided, with a bound each: part s is the lanes s, s + parts, s + 2 parts, ...
PARTS = (1, 4, 16)


@intrinsic
def score_and_bound(typingctx, rows, panel, half, d, skip, ahead, base, slack, places, parts, scores, tops):  # type: ignore[no-untyped-def]
    """Write the ``scores`` ``[8, 16]``, each row's best one in ``tops`` ``[8]``, and its bounds where ``places`` says.

    ``rows``, ``panel``, ``half``, ``d`` and ``skip`` as for ``score_group``. ``ahead`` (int64 ``[8]``) are addresses of
    rows to bring near meanwhile. From the best score s of each of the ``parts`` of the group follows
    ``sqrt(base - 2 s) - slack``, rounded down: float32, at the row's address in ``places`` (int64 ``[8]``). ``base``
    and ``slack`` ``[8]`` have the dtype of the rows; README.md, Bounds between iterations, has their derivation.
    """
    signature = types.void(
        rows, panel, half, types.intp, skip, ahead, base, slack, places, types.intp, scores, tops
    )  # fmt: skip

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, panel.dtype)
        skips, targets = make.address(4, I32), make.address(8, I64)
        bases, slacks = make.address(6, make.scalar), make.address(7, make.scalar)
        results, bests = make.address(10, make.vector), make.address(11, make.scalar)
        found = []
        for row, (score,) in make.scores(0, 1, 2, 3, ahead=5):
            own = builder.icmp_signed("==", make.count, make.spread(make.load(skips, row, align=4)))
            found.append(builder.select(own, make.least, score))
            make.store(found[row], results, row, align=make.size)
        with builder.if_else(builder.icmp_signed("==", make.value(9), ir.Constant(I64, 1))) as (one, several):
            with one:
                best = make.best_of_rows(found)
                kinds = [ir.VectorType(make.scalar, TILE).as_pointer()] * 3
                base, slack, top = (
                    builder.bitcast(pointer, kind) for pointer, kind in zip((bases, slacks, bests), kinds, strict=True)
                )
                make.store(best, top, 0, align=make.size)
                bound = bound_below(
                    make, best, make.load(base, 0, align=make.size), make.load(slack, 0, align=make.size)
                )
                for row in range(TILE):
                    target = builder.inttoptr(make.load(targets, row, align=8), ir.FloatType().as_pointer())
                    builder.store(builder.extract_element(bound, ir.Constant(I32, row)), target).align = 4
            with several:
                kept = {count: builder.icmp_signed("==", make.value(9), ir.Constant(I64, count)) for count in PARTS}
                for row, score in enumerate(found):
                    base, slack = (make.load(pointer, row, align=make.size) for pointer in (bases, slacks))
                    target = builder.inttoptr(make.load(targets, row, align=8), ir.FloatType().as_pointer())
                    left = score
                    while left.type.count > 1:
                        if left.type.count in kept:
                            with builder.if_then(kept[left.type.count]):
                                bound = bound_below(make, left, base, slack)
                                place = builder.bitcast(target, bound.type.as_pointer())
                                builder.store(bound, place).align = 4
                        left = make.halve(left, make.larger)
                    make.store(builder.extract_element(left, ir.Constant(I32, 0)), bests, row, align=make.size)
        return context.get_dummy_value()

    return signature, generate


def _tightener(arguments: tuple[Any, ...], side: int) -> Any:
    rows, panels, halves, skip, base, slack, places = arguments
    signature = types.void(rows, panels, halves, types.intp, skip, base, slack, places, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, panels.dtype)
        skips, targets = make.address(4, I32), make.address(7, I64)
        bases, slacks = make.address(5, make.scalar), make.address(6, make.scalar)
        offset = builder.mul(make.value(8), ir.Constant(I64, 4))
        exist, align = there(make, make.value(8), make.value(9)), ir.Constant(I32, 4)
        single = ir.VectorType(ir.FloatType(), PANEL)
        for row, scores in make.scores(0, 1, 2, 3, side=side):
            best = make.least
            for place, score in enumerate(scores):
                own = builder.icmp_signed("==", make.count, make.spread(make.load(skips, place * TILE + row, align=4)))
                best = make.larger(builder.select(own, make.least, score), best)
            bound = bound_below(
                make, best, make.load(bases, row, align=make.size), make.load(slacks, row, align=make.size)
            )
            target = builder.inttoptr(builder.add(make.load(targets, row, align=8), offset), single.as_pointer())
            kept = masked(make, "load", (target, align, exist, ir.Constant(single, [0.0] * PANEL)))
            less = builder.fcmp_ordered("<", bound, kept)
            put(make, builder.select(less, bound, kept), target, make.value(8), make.value(9))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def tighten(typingctx, rows, panels, halves, d, skip, base, slack, places, first, count):  # type: ignore[no-untyped-def]
    """Lower the bounds of 8 rows on 16 parts to what the scores of one centre of each part say.

    ``rows``, ``panels`` ``[1, d, 16]``, ``halves`` ``[1, 16]``, ``d`` and ``skip`` ``[1, 8]`` as for ``score_group``,
    with a lane for each part; ``base``, ``slack``, ``places``, ``first`` and ``count`` as for ``settle_parts``.
    """
    return _tightener((rows, panels, halves, skip, base, slack, places), 1)


@intrinsic
def tighten_by_two(typingctx, rows, panels, halves, d, skip, base, slack, places, first, count):  # type: ignore[no-untyped-def]
    """:func:`tighten` for two centres of each part, ``panels`` ``[2, d, 16]``, in one pass."""
    return _tightener((rows, panels, halves, skip, base, slack, places), 2)
