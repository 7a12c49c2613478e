"""Vectors of 16 lanes inside Numba functions, written as LLVM's own, which every processor's back end takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import binding, ir
from numba.core import cgutils

from fastclust_kernels._near import prefetch
from fastclust_kernels._whole import store_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numba import types

__all__ = ["I32", "I64", "INDEX", "LINE", "PANEL", "TILE", "Vectors"]

#: Rows of a tile, and centres of a panel: the lanes of a vector.
TILE = 8
PANEL = 16
#: Bytes of a line of the cache.
LINE = 64

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
        store_whole(self.builder, value, self.builder.gep(pointer, [ir.Constant(I64, place)]), align=align)

    def spread(self, value: Any, lanes: int = PANEL) -> Any:
        """All lanes alike."""
        vector = ir.VectorType(value.type, lanes)
        nothing = ir.Constant(vector, ir.Undefined)
        one = self.builder.insert_element(nothing, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))

    def call(self, name: str, *vectors: Any) -> Any:
        """One of LLVM's functions of vectors, such as ``llvm.sqrt``."""
        kind = vectors[0].type
        full = f"{name}.v{kind.count}f{8 * self.size}"
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(kind, [vector.type for vector in vectors]), full
        )
        return self.builder.call(function, vectors)

    def larger(self, one: Any, other: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", one, other), one, other)

    def smaller_lane(self, one: Any, other: Any) -> Any:
        return self.builder.select(self.builder.icmp_signed("<", one, other), one, other)

    def halves(self, vector: Any) -> tuple[Any, Any]:
        """The lower half of the lanes and the upper."""
        width = vector.type.count // 2
        low, high = (
            self.builder.shuffle_vector(
                vector, vector, ir.Constant(ir.VectorType(I32, width), list(range(first, first + width)))
            )
            for first in (0, width)
        )
        return low, high

    def halve(self, vector: Any, combine: Callable[[Any, Any], Any]) -> Any:
        """The upper half of the lanes combined with the lower."""
        return combine(*self.halves(vector))

    def fold(self, vector: Any, combine: Callable[[Any, Any], Any]) -> Any:
        """All lanes combined into one number, halves first."""
        while vector.type.count > 1:
            vector = self.halve(vector, combine)
        return self.builder.extract_element(vector, ir.Constant(I32, 0))

    def zipped(self, one: Any, other: Any) -> tuple[Any, Any]:
        """Lanes of two vectors in turn: those of the lower halves, and those of the upper ones."""
        lanes = [[first + lane // 2 + (lane % 2) * PANEL for lane in range(PANEL)] for first in (0, PANEL // 2)]
        low, high = (self.builder.shuffle_vector(one, other, ir.Constant(INDEX, places)) for places in lanes)
        return low, high

    def best_of_rows(self, vectors: Sequence[Any]) -> Any:
        """The largest lane of each of 8 vectors, in a vector of 8.

        Three times, vector i is zipped with the one half as many further: the number of a lane then ends with the
        numbers of the vectors.
        """
        found = list(vectors)
        while len(found) > 1:
            half = len(found) // 2
            found = [self.larger(*self.zipped(found[i], found[i + half])) for i in range(half)]
        return self.halve(found[0], self.larger)

    def scores(
        self, rows: int, panel: int, half: int, width: int, side: int = 1, ahead: int | None = None
    ) -> Iterator[tuple[int, list[Any]]]:
        """``x.c - half`` for each of the 8 rows: (row of the tile, a vector of 16 for each of ``side`` panels).

        Two panels side by side take fewer loads a product: a column of a row, once loaded, serves both. ``ahead`` is
        the argument with the addresses (int64 ``[8]``) of rows that are brought near meanwhile.
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
                if ahead is not None and not first:
                    self._bring(column.index, ahead)
                loaded = []
                for one in panels:
                    center = builder.load(builder.gep(one, [column.index]))
                    center.align = self.size
                    loaded.append(center)
                for start, totals in zip(starts, sums, strict=True):
                    value = self.spread(builder.load(builder.gep(start, [column.index])))
                    for center, total in zip(loaded, totals, strict=True):
                        builder.store(self.call("llvm.fma", value, center, builder.load(total)), total)
            for row, totals in zip(mine, sums, strict=True):
                yield row, [builder.fsub(builder.load(total), own) for total, own in zip(totals, halves, strict=True)]

    def _bring(self, column: Any, ahead: int) -> None:
        """Where a line of the cache begins, bring that line of each of 8 other rows near."""
        builder = self.builder
        inside = builder.and_(column, ir.Constant(I64, LINE // self.size - 1))
        begins = builder.icmp_unsigned("==", inside, ir.Constant(I64, 0))
        with builder.if_then(begins):
            addresses = self.address(ahead, I64)
            offset = builder.mul(column, ir.Constant(I64, self.size))
            for row in range(TILE):
                prefetch(builder, builder.add(self.load(addresses, row, align=8), offset), 2)
