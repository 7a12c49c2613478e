"""Vectors of 16 lanes inside Numba functions, written as LLVM's own, which every processor's back end takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import binding, ir
from numba.core import cgutils

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numba import types

__all__ = ["I32", "I64", "INDEX", "PANEL", "TILE", "Vectors"]

#: Rows of a tile, and centres of a panel: the lanes of a vector.
TILE = 8
PANEL = 16

I32, I64 = ir.IntType(32), ir.IntType(64)
#: A vector of int32.
INDEX = ir.VectorType(I32, PANEL)


def _together(bytes_a_row: int) -> int:
    """Rows whose accumulators fit the vector registers, with some left for operands."""
    registers = 1024 if binding.get_host_cpu_features().get("avx512f") else 256
    return max(1, min(TILE, registers // bytes_a_row))


class Vectors:
    """What one operation is written with: the arguments of its function and vectors of 16 of its numbers."""

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
        self.count = ir.Constant(INDEX, list(range(PANEL)))

    def value(self, place: int) -> Any:
        return self._values[place]

    def address(self, place: int, kind: ir.Type) -> Any:
        """The data of the array that is argument ``place``, as pointer to ``kind``."""
        array = self._context.make_array(self._signature.args[place])(self._context, self.builder, self._values[place])
        return self.builder.bitcast(array.data, kind.as_pointer())

    def load(self, pointer: Any, place: int, *, align: int) -> Any:
        loaded = self.builder.load(self.builder.gep(pointer, [ir.Constant(I64, place)]))
        loaded.align = align
        return loaded

    def store(self, value: Any, pointer: Any, place: int, *, align: int) -> None:
        self.builder.store(value, self.builder.gep(pointer, [ir.Constant(I64, place)])).align = align

    def spread(self, value: Any) -> Any:
        """All lanes alike."""
        vector = ir.VectorType(value.type, PANEL)
        nothing = ir.Constant(vector, ir.Undefined)
        one = self.builder.insert_element(nothing, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(one, nothing, ir.Constant(INDEX, [0] * PANEL))

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
                    vector, vector, ir.Constant(ir.VectorType(I32, width), list(range(first, first + width)))
                )
                for first in (0, width)
            ]
            vector = combine(*halves)
        return self.builder.extract_element(vector, ir.Constant(I32, 0))

    def scores(self, rows: int, panel: int, half: int, width: int, side: int = 1) -> Iterator[tuple[int, list[Any]]]:
        """``x.c - half`` for each of the 8 rows: (row of the tile, a vector of 16 for each of ``side`` panels).

        Two panels side by side take fewer loads a product: a column of a row, once loaded, serves both.
        """
        builder = self.builder
        zero = ir.Constant(self.vector, None)
        centers = self.address(panel, self.vector)
        panels = [builder.gep(centers, [builder.mul(self.value(width), ir.Constant(I64, p))]) for p in range(side)]
        halves = [self.load(self.address(half, self.vector), p, align=self.size) for p in range(side)]
        addresses = self.address(rows, I64)
        together = _together(PANEL * self.size * side)
        for first in range(0, TILE, together):
            mine = range(first, first + together)
            starts = [builder.inttoptr(self.load(addresses, row, align=8), self.scalar.as_pointer()) for row in mine]
            sums = [[cgutils.alloca_once_value(builder, zero) for _ in panels] for _ in mine]
            for totals in sums:
                for total in totals:
                    builder.store(zero, total)
            with cgutils.for_range(builder, self.value(width)) as column:
                loaded = []
                for one in panels:
                    center = builder.load(builder.gep(one, [column.index]))
                    center.align = self.size
                    loaded.append(center)
                for start, totals in zip(starts, sums, strict=True):
                    value = self.spread(builder.load(builder.gep(start, [column.index])))
                    for center, total in zip(loaded, totals, strict=True):
                        builder.store(builder.call(self.fma, [value, center, builder.load(total)]), total)
            for row, totals in zip(mine, sums, strict=True):
                yield row, [builder.fsub(builder.load(total), own) for total, own in zip(totals, halves, strict=True)]
