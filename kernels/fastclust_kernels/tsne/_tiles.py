"""Steps between transforms in the two directions of a grid, on 16 numbers at once, written as LLVM vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastclust_kernels.tsne._butterflies import LANES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["flip", "join", "split", "weigh"]

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)


class _Arrays:
    """Rows of 16 numbers of C-contiguous arrays that are arguments."""

    def __init__(self, context: Any, builder: Any, signature: Any, values: Sequence[Any]) -> None:
        self._context, self.builder, self._signature, self._values = context, builder, signature, values

    def pointer(self, argument: int, *at: Any, kind: Any = _VECTOR) -> Any:
        """Address of the row ``at`` (all indices but the last) of an array."""
        array = self._context.make_array(self._signature.args[argument])(
            self._context, self.builder, self._values[argument]
        )
        place = ir.Constant(_I64, 0)
        for axis, index in enumerate(at):
            size = self.builder.extract_value(array.shape, axis)
            number = ir.Constant(_I64, index) if isinstance(index, int) else index
            place = self.builder.add(self.builder.mul(place, size), number)
        return self.builder.gep(self.builder.bitcast(array.data, kind.as_pointer()), [place])

    def load(self, pointer: Any, align: int = 4) -> Any:
        vector = self.builder.load(pointer)
        vector.align = align
        return vector

    def store(self, vector: Any, pointer: Any, align: int = 4) -> None:
        self.builder.store(vector, pointer).align = align

    def spread(self, number: Any) -> Any:
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        one = self.builder.insert_element(nothing, number, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))


@intrinsic
def split(typingctx, planes, row, mirror, tile, at):  # type: ignore[no-untyped-def]
    """Transforms of two real columns from the one of the first plus i times the second, each doubled.

    ``planes`` is ``[2, n, 16]`` with the frequency wanted at ``row`` and its negative at ``mirror``; real and imaginary
    part of both columns go to row ``at`` of ``tile`` ``[4, 16, 16]``.
    """
    signature = types.void(planes, types.intp, types.intp, tile, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arrays = _Arrays(context, builder, signature, values)
        a, b = (arrays.load(arrays.pointer(0, part, values[1])) for part in (0, 1))
        c, d = (arrays.load(arrays.pointer(0, part, values[2])) for part in (0, 1))
        results = builder.fadd(a, c), builder.fsub(b, d), builder.fadd(b, d), builder.fsub(c, a)
        for part, result in enumerate(results):
            arrays.store(result, arrays.pointer(3, part, values[4]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def join(typingctx, tile, at, planes, row, mirror):  # type: ignore[no-untyped-def]
    """Undo :func:`split`, but for the doubling: the first column plus i times the second, at both frequencies."""
    signature = types.void(tile, types.intp, planes, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arrays = _Arrays(context, builder, signature, values)
        a, b, c, d = (arrays.load(arrays.pointer(0, part, values[1])) for part in range(4))
        # The negative frequency first: where both are one, the last one stays.
        for place, real, imaginary in (
            (values[4], builder.fadd(a, d), builder.fsub(c, b)),
            (values[3], builder.fsub(a, d), builder.fadd(b, c)),
        ):
            arrays.store(real, arrays.pointer(2, 0, place))
            arrays.store(imaginary, arrays.pointer(2, 1, place))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def flip(typingctx, source, first, start, step, target, last, end, stride):  # type: ignore[no-untyped-def]
    """Transpose 16 by 16 numbers: ``source[first, start + j step]`` to ``target[last, end + j stride]``, j = 0 .. 15.

    Both arrays have three axes, the last of 16 numbers: a row.
    """
    integers = types.intp, types.intp, types.intp
    signature = types.void(source, *integers, target, *integers)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arrays = _Arrays(context, builder, signature, values)

        def pointer(argument: int, j: int) -> Any:
            along = builder.mul(values[argument + 3], ir.Constant(_I64, j))
            return arrays.pointer(argument, values[argument + 1], builder.add(values[argument + 2], along))

        rows = [arrays.load(pointer(0, j)) for j in range(LANES)]
        half = LANES // 2
        while half:
            # Of two rows, the blocks of ``half`` that lie off the diagonal change places.
            upper = [lane + LANES - half if lane & half else lane for lane in range(LANES)]
            lower = [lane + LANES if lane & half else lane + half for lane in range(LANES)]
            for one in range(LANES):
                other = one + half
                if not one & half:
                    rows[one], rows[other] = (
                        builder.shuffle_vector(rows[one], rows[other], ir.Constant(ir.VectorType(_I32, LANES), order))
                        for order in (upper, lower)
                    )
            half //= 2
        for j, row in enumerate(rows):
            arrays.store(row, pointer(4, j))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def weigh(typingctx, planes, other, row, kernels, frequency, sign, sums):  # type: ignore[no-untyped-def]
    """A row of waves times ``i across`` in place and times ``i sign along`` into ``other``; its energy to ``sums``.

    ``planes`` and ``other`` are ``[2, n, 16]``; ``kernels`` ``[frequencies, 3, 16]`` are potential, across and along;
    ``sums`` is float64 ``[1, 16]`` and grows by ``|waves|^2 potential``.
    """
    signature = types.void(planes, other, types.intp, kernels, types.intp, types.float32, sums)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arrays = _Arrays(context, builder, signature, values)
        real, imaginary = (arrays.load(arrays.pointer(0, part, values[2])) for part in (0, 1))
        potential, across, along = (arrays.load(arrays.pointer(3, values[4], kind)) for kind in range(3))
        squared = builder.fadd(builder.fmul(real, real), builder.fmul(imaginary, imaginary))
        total = arrays.pointer(6, 0, kind=_DOUBLES)
        energy = builder.fpext(builder.fmul(squared, potential), _DOUBLES)
        arrays.store(builder.fadd(arrays.load(total, 8), energy), total, 8)
        for target, factor in ((0, across), (1, builder.fmul(along, arrays.spread(values[5])))):
            arrays.store(builder.fneg(builder.fmul(imaginary, factor)), arrays.pointer(target, 0, values[2]))
            arrays.store(builder.fmul(real, factor), arrays.pointer(target, 1, values[2]))
        return context.get_dummy_value()

    return signature, generate
