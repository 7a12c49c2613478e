"""The inner products of this folder on the CPU: 8 rows against a panel of columns, and what is fused behind them.

LLVM vectors inside Numba, as in ``assign/_scores.py``, which every processor's back end turns into its own
instructions. A panel is ``[d, lanes]``, 128 bytes wide, so that a broadcast of a row's number feeds two of AVX-512's
registers; rows are given by their addresses. Sums are made of chunks of 128 columns, each from zero, so that rounding
does not grow with d. What comes out for a row and a column depends on nothing but that row and that column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastclust_kernels._whole import store_whole
from fastclust_kernels.arrays import empty_on_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = [
    "CHUNK",
    "TILE",
    "above",
    "add_squares",
    "address_tile",
    "at_least",
    "count_at_least",
    "distances",
    "lanes_of",
    "multiply",
    "pack",
    "score",
    "squared_distances",
    "used_of",
]

#: Rows of a tile.
TILE = 8
#: Columns that are summed from zero.
CHUNK = 128
_WIDTH = 128

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def lanes_of(dtype: Any) -> int:
    """Columns of a panel."""
    return _WIDTH // int(np.dtype(dtype).itemsize)


def pack(columns: NDArray[Any]) -> NDArray[Any]:
    """Columns ``[d, r]`` as panels ``[p, d, lanes]``, filled up with zeros."""
    d, r = columns.shape
    lanes = lanes_of(columns.dtype)
    panels = -(-r // lanes)
    filled = np.zeros((d, panels * lanes), columns.dtype)
    filled[:, :r] = columns
    packed = empty_on_lines((panels, d, lanes), columns.dtype)
    packed[:] = filled.reshape(d, panels, lanes).transpose(1, 0, 2)
    return packed


def used_of(panels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one past the last row of each panel that is not all zeros: a triangle's panels are half zeros."""
    used = np.asarray(panels.any(axis=-1))
    some = used.any(axis=-1)
    first = np.where(some, used.argmax(axis=-1), 0)
    return first, np.where(some, used.shape[-1] - used[..., ::-1].argmax(axis=-1), 0)


@numba.njit(cache=True)
def address_tile(address, base, stride, start, end):  # type: ignore[no-untyped-def]
    """The addresses of 8 rows from ``start`` on; the one before ``end`` stands for those that are not there."""
    for r in range(TILE):
        address[r] = base + min(start + r, end - 1) * stride


class _Tile:
    """What one operation is written with: its arguments, and vectors as wide as a panel."""

    def __init__(self, context: Any, builder: Any, signature: Any, values: Sequence[Any], number: types.Float) -> None:
        self.builder = builder
        self._context, self._signature, self._values = context, signature, values
        self.scalar = context.get_value_type(number)
        self.size = number.bitwidth // 8
        self.lanes = _WIDTH // self.size
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.zero = ir.Constant(self.vector, None)

    def value(self, place: int) -> Any:
        return self._values[place]

    def address(self, place: int, kind: ir.Type) -> Any:
        """The data of the array that is argument ``place``, as pointer to ``kind``."""
        array = self._context.make_array(self._signature.args[place])(self._context, self.builder, self._values[place])
        return self.builder.bitcast(array.data, kind.as_pointer())

    def load(self, pointer: Any, place: int, align: int) -> Any:
        loaded = self.builder.load(self.builder.gep(pointer, [ir.Constant(_I64, place)]))
        loaded.align = align
        return loaded

    def vector_at(self, place: int, row: int = 0) -> Any:
        """Vector ``row`` of the array that is argument ``place``."""
        return self.load(self.address(place, self.vector), row, self.size)

    def number_at(self, place: int, row: int) -> Any:
        """Number ``row`` of the array that is argument ``place``, in all lanes."""
        return self.spread(self.load(self.address(place, self.scalar), row, self.size))

    def store(self, value: Any, place: int, row: int, align: int) -> None:
        """Put ``value`` at ``row`` of the array that is argument ``place``."""
        pointer = self.address(place, value.type)
        store_whole(self.builder, value, self.builder.gep(pointer, [ir.Constant(_I64, row)]), align=align)

    def write(self, vector: Any, place: int, row: int) -> None:
        """Put ``vector`` where address ``row`` of the array that is argument ``place`` says."""
        start = self.builder.inttoptr(self.load(self.address(place, _I64), row, 8), self.vector.as_pointer())
        self.builder.store(vector, start).align = self.size

    def spread(self, value: Any) -> Any:
        nothing = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(nothing, value, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes))

    def constant(self, value: float) -> Any:
        return ir.Constant(self.vector, [value] * self.lanes)

    def fused(self, one: Any, other: Any, third: Any) -> Any:
        return self.builder.call(self._function("fma", 3), [one, other, third])

    def root(self, vector: Any) -> Any:
        return self.builder.call(self._function("sqrt", 1), [vector])

    def _function(self, name: str, arguments: int) -> Any:
        kind = ir.FunctionType(self.vector, [self.vector] * arguments)
        return cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}.v{self.lanes}f{8 * self.size}")

    def bits(self, condition: Any) -> Any:
        """A vector of truths as the low bits of an int64."""
        return self.builder.zext(self.builder.bitcast(condition, ir.IntType(self.lanes)), _I64)

    def products(self, rows: int, panel: int, first: Any, count: Any) -> Iterator[tuple[int, Any]]:
        """``x.c`` over ``count`` columns from ``first`` on, for each of the 8 rows: (row, vector)."""
        builder = self.builder
        chunk = ir.Constant(_I64, CHUNK)
        panels = builder.gep(self.address(panel, self.vector), [first])
        addresses = self.address(rows, _I64)
        # Rows whose sums fit the vector registers, with some left for operands.
        together = TILE if binding.get_host_cpu_features().get("avx512f") else TILE // 4
        for top in range(0, TILE, together):
            mine = range(top, top + together)
            starts = [
                builder.gep(builder.inttoptr(self.load(addresses, row, 8), self.scalar.as_pointer()), [first])
                for row in mine
            ]
            totals, sums = ([cgutils.alloca_once_value(builder, self.zero) for _ in mine] for _ in range(2))
            for total in totals:
                builder.store(self.zero, total)
            with cgutils.for_range_slice(builder, ir.Constant(_I64, 0), count, chunk) as (begin, _):
                left = builder.sub(count, begin)
                width = builder.select(builder.icmp_signed("<", left, chunk), left, chunk)
                for part in sums:
                    builder.store(self.zero, part)
                with cgutils.for_range(builder, width) as column:
                    place = builder.add(begin, column.index)
                    other = builder.load(builder.gep(panels, [place]))
                    other.align = self.size
                    for start, part in zip(starts, sums, strict=True):
                        value = self.spread(builder.load(builder.gep(start, [place])))
                        builder.store(self.fused(value, other, builder.load(part)), part)
                for total, part in zip(totals, sums, strict=True):
                    builder.store(builder.fadd(builder.load(total), builder.load(part)), total)
            for row, total in zip(mine, totals, strict=True):
                yield row, builder.load(total)


_NONE = ir.Constant(_I64, 0)


@intrinsic
def multiply(typingctx, rows, panel, first, count, outs):  # type: ignore[no-untyped-def]
    """Write the products of 8 rows with a panel, over ``count`` columns from ``first`` on, where ``outs`` says."""
    signature = types.void(rows, panel, types.intp, types.intp, outs)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = _Tile(context, builder, signature, values, panel.dtype)
        for row, product in make.products(0, 1, make.value(2), make.value(3)):
            make.write(product, 4, row)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_squares(typingctx, rows, panel, first, count, sums):  # type: ignore[no-untyped-def]
    """Add to ``sums`` ``[8, lanes]`` the squares of the products over ``count`` columns from ``first`` on."""
    signature = types.void(rows, panel, types.intp, types.intp, sums)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = _Tile(context, builder, signature, values, panel.dtype)
        for row, product in make.products(0, 1, make.value(2), make.value(3)):
            make.store(make.fused(product, product, make.vector_at(4, row)), 4, row, make.size)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def above(typingctx, rows, panel, half, d, floors, scores, hits):  # type: ignore[no-untyped-def]
    """Whether any score ``x.c - half`` of 8 rows with a panel is not below the row's floor.

    Only then are ``scores`` ``[8, lanes]`` and the bits ``hits`` (int64 ``[8]``) written.
    """
    signature = types.boolean(rows, panel, half, types.intp, floors, scores, hits)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = _Tile(context, builder, signature, values, panel.dtype)
        halves = make.vector_at(2)
        found = []
        some = _NONE
        for row, product in make.products(0, 1, _NONE, make.value(3)):
            score = builder.fsub(product, halves)
            bits = make.bits(builder.fcmp_ordered(">=", score, make.number_at(4, row)))
            some = builder.or_(some, bits)
            found.append((row, score, bits))
        any_of = builder.icmp_signed("!=", some, _NONE)
        with builder.if_then(any_of, likely=False):
            for row, score, bits in found:
                make.store(score, 5, row, make.size)
                make.store(bits, 6, row, 8)
        return any_of

    return signature, generate


@intrinsic
def score(typingctx, rows, panel, half, d, scores, bests):  # type: ignore[no-untyped-def]
    """Write the scores ``x.c - half`` of 8 rows with a panel into ``scores``, and into ``bests`` what is above those.

    Both are ``[8, lanes]``.
    """
    signature = types.void(rows, panel, half, types.intp, scores, bests)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = _Tile(context, builder, signature, values, panel.dtype)
        halves = make.vector_at(2)
        for row, product in make.products(0, 1, _NONE, make.value(3)):
            found = builder.fsub(product, halves)
            make.store(found, 4, row, make.size)
            best = make.vector_at(5, row)
            make.store(builder.select(builder.fcmp_ordered(">", found, best), found, best), 5, row, make.size)
        return context.get_dummy_value()

    return signature, generate


def _at_least(*, counted: bool) -> Any:
    def compare(typingctx, vectors, row, least):  # type: ignore[no-untyped-def]
        signature = types.int64(vectors, types.intp, vectors.dtype)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            make = _Tile(context, builder, signature, values, vectors.dtype)
            vector = builder.load(builder.gep(make.address(0, make.vector), [make.value(1)]))
            vector.align = make.size
            bits = make.bits(builder.fcmp_ordered(">=", vector, make.spread(make.value(2))))
            return builder.ctpop(bits) if counted else bits

        return signature, generate

    compare.__doc__ = f"""{"How many" if counted else "Bit by bit, which"} numbers of vector ``row`` are not below
    ``least``."""
    return intrinsic(compare)


at_least = _at_least(counted=False)
count_at_least = _at_least(counted=True)


def _distances(*, rooted: bool) -> Any:
    def write(typingctx, rows, panel, norms, limits, own, own_limits, d, outs, hits):  # type: ignore[no-untyped-def]
        signature = types.int64(rows, panel, norms, limits, own, own_limits, types.intp, outs, hits)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            make = _Tile(context, builder, signature, values, panel.dtype)
            squares, shares = make.vector_at(2), make.vector_at(3)
            some = _NONE
            for row, product in make.products(0, 1, _NONE, make.value(6)):
                size = builder.fadd(make.number_at(4, row), squares)
                limit = builder.fadd(make.number_at(5, row), shares)
                total = make.fused(make.constant(-2.0), product, size)
                # Unordered: where numbers overflowed, nothing is certain.
                bits = make.bits(builder.fcmp_unordered("<=", total, limit))
                some = builder.or_(some, bits)
                make.store(bits, 8, row, 8)
                positive = builder.select(builder.fcmp_ordered(">", total, make.zero), total, make.zero)
                make.write(make.root(positive) if rooted else positive, 7, row)
            return some

        return signature, generate

    write.__doc__ = f"""Write the {"" if rooted else "squared "}distances of 8 rows to a panel where ``outs`` says.

    The bits ``hits`` (int64 ``[8]``) say which squared distances do not exceed the sum of the two ``limits``, and are
    to be computed again. Returns the bits of all rows together.
    """
    return intrinsic(write)


distances = _distances(rooted=True)
squared_distances = _distances(rooted=False)
