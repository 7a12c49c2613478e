"""The inner product of k-means on the CPU: scores of 8 rows against a panel of 16 centres, held in vector registers.

Written as LLVM vectors, which every processor's back end turns into its own instructions. The rows are given by their
addresses, so that any rows can share a tile; the centres lie in panels ``[d, 16]``, so that one load feeds all 8 rows.
What is done with the scores is fused behind them, before they leave the registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["PANEL", "TILE", "keep_best", "pack", "score_group", "settle"]

#: Rows of a tile, and centres of a panel.
TILE = 8
PANEL = 16

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_LANES = ir.VectorType(_I32, PANEL)


def pack(centers: NDArray[Any], half: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Centres as panels ``[p, d, 16]`` and their half norms ``[p, 16]``; the places left over never win."""
    k, d = centers.shape
    panels = -(-k // PANEL)
    filled = np.zeros((panels * PANEL, d), centers.dtype)
    filled[:k] = centers
    halves = np.full(panels * PANEL, np.inf, centers.dtype)
    halves[:k] = half
    return np.ascontiguousarray(filled.reshape(panels, PANEL, d).transpose(0, 2, 1)), halves.reshape(panels, PANEL)


def _together(size: int) -> int:
    """Rows whose accumulators fit the vector registers, with some left for operands."""
    registers = 1024 if binding.get_host_cpu_features().get("avx512f") else 256
    return max(1, min(TILE, registers // (PANEL * size)))


class _Builder:
    """Vectors of 16 numbers in one function: what the three operations below are written in."""

    def __init__(self, context: Any, builder: Any, signature: Any, values: Sequence[Any], number: types.Float) -> None:
        self.builder = builder
        self._context, self._signature, self._values = context, signature, values
        self.scalar = context.get_value_type(number)
        self.size = number.bitwidth // 8
        self.vector = ir.VectorType(self.scalar, PANEL)
        self.fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.vector, [self.vector] * 3), f"llvm.fma.v{PANEL}f{number.bitwidth}"
        )
        self.least = ir.Constant(self.vector, [float("-inf")] * PANEL)
        self.count = ir.Constant(_LANES, list(range(PANEL)))

    def value(self, place: int) -> Any:
        return self._values[place]

    def address(self, place: int, kind: ir.Type) -> Any:
        """The data of the array that is argument ``place``, as pointer to ``kind``."""
        array = self._context.make_array(self._signature.args[place])(self._context, self.builder, self._values[place])
        return self.builder.bitcast(array.data, kind.as_pointer())

    def load(self, pointer: Any, place: int, *, align: int) -> Any:
        loaded = self.builder.load(self.builder.gep(pointer, [ir.Constant(_I64, place)]))
        loaded.align = align
        return loaded

    def store(self, value: Any, pointer: Any, place: int, *, align: int) -> None:
        self.builder.store(value, self.builder.gep(pointer, [ir.Constant(_I64, place)])).align = align

    def spread(self, value: Any) -> Any:
        """All lanes alike."""
        vector = ir.VectorType(value.type, PANEL)
        nothing = ir.Constant(vector, ir.Undefined)
        one = self.builder.insert_element(nothing, value, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(one, nothing, ir.Constant(_LANES, [0] * PANEL))

    def larger(self, one: Any, other: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", one, other), one, other)

    def smaller_lane(self, one: Any, other: Any) -> Any:
        return self.builder.select(self.builder.icmp_signed("<", one, other), one, other)

    def fold(self, vector: Any, combine: Callable[[Any, Any], Any]) -> Any:
        """The 16 lanes combined into one number, halves first."""
        width = PANEL
        while width > 1:
            width //= 2
            halves = [
                self.builder.shuffle_vector(
                    vector, vector, ir.Constant(ir.VectorType(_I32, width), list(range(first, first + width)))
                )
                for first in (0, width)
            ]
            vector = combine(*halves)
        return self.builder.extract_element(vector, ir.Constant(_I32, 0))

    def scores(self, rows: int, panel: int, half: int, width: int) -> Iterator[tuple[int, Any]]:
        """``x.c - half`` for each of the 8 rows: (row of the tile, vector of 16)."""
        builder = self.builder
        zero = ir.Constant(self.vector, None)
        centers = self.address(panel, self.vector)
        halves = self.load(self.address(half, self.vector), 0, align=self.size)
        addresses = self.address(rows, _I64)
        together = _together(self.size)
        for first in range(0, TILE, together):
            mine = range(first, first + together)
            starts = [builder.inttoptr(self.load(addresses, row, align=8), self.scalar.as_pointer()) for row in mine]
            sums = [cgutils.alloca_once_value(builder, zero) for _ in mine]
            for total in sums:
                builder.store(zero, total)
            with cgutils.for_range(builder, self.value(width)) as column:
                center = builder.load(builder.gep(centers, [column.index]))
                center.align = self.size
                for start, total in zip(starts, sums, strict=True):
                    value = self.spread(builder.load(builder.gep(start, [column.index])))
                    builder.store(builder.call(self.fma, [value, center, builder.load(total)]), total)
            for row, total in zip(mine, sums, strict=True):
                yield row, builder.fsub(builder.load(total), halves)


@intrinsic
def keep_best(typingctx, rows, panel, half, d, number, best, second, where):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, ARG001
    """Score 8 rows against a panel and keep, lane by lane, the best two scores and the panel of the best.

    ``rows`` holds 8 addresses (int64); ``panel`` is ``[d, 16]`` and ``half`` ``[16]``; ``best`` and ``second`` are
    ``[8, 16]`` of the same dtype, ``where`` int32 ``[8, 16]``. On a tie the earlier panel stays.
    Each product is summed in the order of the columns by fused multiply-adds, whatever the tile.
    """
    signature = types.void(rows, panel, half, types.intp, types.int32, best, second, where)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = _Builder(context, builder, signature, values, panel.dtype)
        tops, nexts, panels = make.address(5, make.vector), make.address(6, make.vector), make.address(7, _LANES)
        mine = make.spread(make.value(4))
        for row, score in make.scores(0, 1, 2, 3):
            top = make.load(tops, row, align=make.size)
            better = builder.fcmp_ordered(">", score, top)
            beaten = builder.select(better, top, score)
            make.store(make.larger(beaten, make.load(nexts, row, align=make.size)), nexts, row, align=make.size)
            make.store(builder.select(better, mine, make.load(panels, row, align=4)), panels, row, align=4)
            make.store(builder.select(better, score, top), tops, row, align=make.size)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def settle(typingctx, best, second, where, labels, tops, nexts):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, ARG001
    """Reduce what :func:`keep_best` kept to each row's label (int32 ``[8]``), best and second best score ``[8]``.

    On a tie the lowest label.
    """
    signature = types.void(best, second, where, labels, tops, nexts)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = _Builder(context, builder, signature, values, best.dtype)
        bests, seconds, panels = make.address(0, make.vector), make.address(1, make.vector), make.address(2, _LANES)
        never = make.spread(ir.Constant(_I32, 2**31 - 1))
        width = make.spread(ir.Constant(_I32, PANEL))
        for row in range(TILE):
            score = make.load(bests, row, align=make.size)
            top = make.fold(score, make.larger)
            lane = builder.add(builder.mul(make.load(panels, row, align=4), width), make.count)
            equal = builder.fcmp_ordered("==", score, make.spread(top))
            label = make.fold(builder.select(equal, lane, never), make.smaller_lane)
            own = builder.icmp_signed("==", lane, make.spread(label))
            others = make.larger(builder.select(own, make.least, score), make.load(seconds, row, align=make.size))
            make.store(label, make.address(3, _I32), row, align=4)
            make.store(top, make.address(4, make.scalar), row, align=make.size)
            make.store(make.fold(others, make.larger), make.address(5, make.scalar), row, align=make.size)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def score_group(typingctx, rows, panel, half, d, skip, scores, tops):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, ARG001
    """Write the ``scores`` ``[8, 16]`` of 8 rows against a panel, and each row's best one in ``tops`` ``[8]``.

    The lane ``skip`` (int32 ``[8]``; -1 for none) of each row is left out of both: it is minus infinity.
    """
    signature = types.void(rows, panel, half, types.intp, skip, scores, tops)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = _Builder(context, builder, signature, values, panel.dtype)
        skips, results, bests = make.address(4, _I32), make.address(5, make.vector), make.address(6, make.scalar)
        for row, score in make.scores(0, 1, 2, 3):
            own = builder.icmp_signed("==", make.count, make.spread(make.load(skips, row, align=4)))
            left = builder.select(own, make.least, score)
            make.store(left, results, row, align=make.size)
            make.store(make.fold(left, make.larger), bests, row, align=make.size)
        return context.get_dummy_value()

    return signature, generate
