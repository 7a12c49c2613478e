"""The inner product of k-means on the CPU: scores of 8 rows against a panel of 16 centres, held in vector registers.

Written as LLVM vectors, which every processor's back end turns into its own instructions. The rows are given by their
addresses, so that any rows can share a tile; the centres lie in panels ``[d, 16]``, so that one load feeds all 8 rows.
What is done with the scores is fused behind them, before they leave the registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastclust_kernels.arrays import empty_on_lines
from fastclust_kernels.assign._vectors import I32, INDEX, PANEL, TILE, Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "carry",
    "clear",
    "keep_best",
    "keep_best_of_two",
    "keep_top",
    "keep_top_of_two",
    "pack",
    "score_group",
    "settle",
]


def pack(centers: NDArray[Any], half: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Centres as panels ``[p, d, 16]`` and their half norms ``[p, 16]``; the places left over never win."""
    k, d = centers.shape
    panels = -(-k // PANEL)
    filled = np.zeros((panels * PANEL, d), centers.dtype)
    filled[:k] = centers
    halves = np.full(panels * PANEL, np.inf, centers.dtype)
    halves[:k] = half
    packed = empty_on_lines((panels, d, PANEL), centers.dtype)
    packed[:] = filled.reshape(panels, PANEL, d).transpose(0, 2, 1)
    return packed, halves.reshape(panels, PANEL)


@intrinsic
def clear(typingctx, best, second, where):  # type: ignore[no-untyped-def]
    """Begin what :func:`keep_best` keeps of 8 rows: no score, of panel 0."""
    signature = types.void(best, second, where)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, best.dtype)
        for place in (0, 1):
            for row in range(TILE):
                make.store(make.least, make.address(place, make.vector), row, align=make.size)
        for row in range(TILE):
            make.store(ir.Constant(INDEX, None), make.address(2, INDEX), row, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def keep_best(typingctx, rows, panel, half, d, number, best, second, where):  # type: ignore[no-untyped-def]
    """Score 8 rows against a panel and keep, lane by lane, the best two scores and the panel of the best.

    ``rows`` holds 8 addresses (int64); ``panel`` is ``[d, 16]`` and ``half`` ``[16]``; ``best`` and ``second`` are
    ``[8, 16]`` of the same dtype, ``where`` int32 ``[8, 16]``. On a tie the earlier panel stays.
    Each product is summed in the order of the columns by fused multiply-adds, whatever the tile.
    """
    signature = types.void(rows, panel, half, types.intp, types.int32, best, second, where)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, panel.dtype)
        tops, nexts, panels = make.address(5, make.vector), make.address(6, make.vector), make.address(7, INDEX)
        mine = make.spread(make.value(4))
        for row, (score,) in make.scores(0, 1, 2, 3):
            top = make.load(tops, row, align=make.size)
            better = builder.fcmp_ordered(">", score, top)
            beaten = builder.select(better, top, score)
            make.store(make.larger(beaten, make.load(nexts, row, align=make.size)), nexts, row, align=make.size)
            make.store(builder.select(better, mine, make.load(panels, row, align=4)), panels, row, align=4)
            make.store(builder.select(better, score, top), tops, row, align=make.size)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def keep_best_of_two(typingctx, rows, panels, halves, d, number, best, second, where):  # type: ignore[no-untyped-def]
    """:func:`keep_best` for panels ``number`` and ``number + 1``, ``[2, d, 16]`` and ``[2, 16]``, in one pass."""
    signature = types.void(rows, panels, halves, types.intp, types.int32, best, second, where)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, panels.dtype)
        tops, nexts, numbers = make.address(5, make.vector), make.address(6, make.vector), make.address(7, INDEX)
        one = make.spread(make.value(4))
        other = make.spread(builder.add(make.value(4), ir.Constant(I32, 1)))
        for row, (score, rival) in make.scores(0, 1, 2, 3, side=2):
            rises = builder.fcmp_ordered(">", rival, score)
            high, low = builder.select(rises, rival, score), builder.select(rises, score, rival)
            top = make.load(tops, row, align=make.size)
            better = builder.fcmp_ordered(">", high, top)
            beaten = make.larger(builder.select(better, top, high), low)
            make.store(make.larger(beaten, make.load(nexts, row, align=make.size)), nexts, row, align=make.size)
            winner = builder.select(rises, other, one)
            make.store(builder.select(better, winner, make.load(numbers, row, align=4)), numbers, row, align=4)
            make.store(builder.select(better, high, top), tops, row, align=make.size)
        return context.get_dummy_value()

    return signature, generate


def _keeper(rows: Any, panels: Any, halves: Any, best: Any, where: Any, side: int) -> Any:
    signature = types.void(rows, panels, halves, types.intp, types.int32, best, where)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, panels.dtype)
        tops, numbers = make.address(5, make.vector), make.address(6, INDEX)
        mine = [make.spread(builder.add(make.value(4), ir.Constant(I32, p))) for p in range(side)]
        for row, scores in make.scores(0, 1, 2, 3, side=side):
            top, place = make.load(tops, row, align=make.size), make.load(numbers, row, align=4)
            for score, own in zip(scores, mine, strict=True):
                better = builder.fcmp_ordered(">", score, top)
                top, place = builder.select(better, score, top), builder.select(better, own, place)
            make.store(top, tops, row, align=make.size)
            make.store(place, numbers, row, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def keep_top(typingctx, rows, panel, half, d, number, best, where):  # type: ignore[no-untyped-def]
    """:func:`keep_best` without the second best."""
    return _keeper(rows, panel, half, best, where, 1)


@intrinsic
def keep_top_of_two(typingctx, rows, panels, halves, d, number, best, where):  # type: ignore[no-untyped-def]
    """:func:`keep_best_of_two` without the second best."""
    return _keeper(rows, panels, halves, best, where, 2)


@intrinsic
def carry(typingctx, source, one, target, other):  # type: ignore[no-untyped-def]
    """Copy row ``one`` of ``source`` ``[m, 16]`` to row ``other`` of ``target``, of the same dtype, as one vector."""
    signature = types.void(source, types.intp, target, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number = source.dtype if isinstance(source.dtype, types.Float) else types.float32
        make = Vectors(context, builder, signature, values, number)
        pointers = [builder.gep(make.address(place, make.vector), [make.value(place + 1)]) for place in (0, 2)]
        loaded = builder.load(pointers[0])
        loaded.align = make.size
        builder.store(loaded, pointers[1]).align = make.size
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def settle(typingctx, best, second, where, labels, tops, nexts):  # type: ignore[no-untyped-def]
    """Reduce what :func:`keep_best` kept to each row's label (int32 ``[8]``), best and second best score ``[8]``.

    On a tie the lowest label.
    """
    signature = types.void(best, second, where, labels, tops, nexts)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, best.dtype)
        bests, seconds, panels = make.address(0, make.vector), make.address(1, make.vector), make.address(2, INDEX)
        never = make.spread(ir.Constant(I32, 2**31 - 1))
        width = make.spread(ir.Constant(I32, PANEL))
        for row in range(TILE):
            score = make.load(bests, row, align=make.size)
            top = make.fold(score, make.larger)
            lane = builder.add(builder.mul(make.load(panels, row, align=4), width), make.count)
            equal = builder.fcmp_ordered("==", score, make.spread(top))
            label = make.fold(builder.select(equal, lane, never), make.smaller_lane)
            own = builder.icmp_signed("==", lane, make.spread(label))
            others = make.larger(builder.select(own, make.least, score), make.load(seconds, row, align=make.size))
            make.store(label, make.address(3, I32), row, align=4)
            make.store(top, make.address(4, make.scalar), row, align=make.size)
            make.store(make.fold(others, make.larger), make.address(5, make.scalar), row, align=make.size)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def score_group(typingctx, rows, panel, half, d, skip, scores, tops):  # type: ignore[no-untyped-def]
    """Write the ``scores`` ``[8, 16]`` of 8 rows against a panel, and each row's best one in ``tops`` ``[8]``.

    The lane ``skip`` (int32 ``[8]``; -1 for none) of each row is left out of both: it is minus infinity.
    """
    signature = types.void(rows, panel, half, types.intp, skip, scores, tops)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, panel.dtype)
        skips, results, bests = make.address(4, I32), make.address(5, make.vector), make.address(6, make.scalar)
        for row, (score,) in make.scores(0, 1, 2, 3):
            own = builder.icmp_signed("==", make.count, make.spread(make.load(skips, row, align=4)))
            left = builder.select(own, make.least, score)
            make.store(left, results, row, align=make.size)
            make.store(make.fold(left, make.larger), bests, row, align=make.size)
        return context.get_dummy_value()

    return signature, generate
