"""Short Fourier transforms of 16 columns at once, written as LLVM vectors: what longer ones are made of."""

from __future__ import annotations

import cmath
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LANES", "RADICES", "backward", "backward_half", "forward", "forward_half"]

#: Columns that are transformed together.
LANES = 16
#: Lengths there are, the best first.
RADICES = (8, 9, 6, 10, 5, 4, 3, 2)

_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_F32, LANES)
#: A complex vector as its two parts; None is zero.
_Number = tuple[Any, Any] | None


class _Writer:
    """Complex arithmetic on vectors. Zeros and simple factors cost nothing."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def _do(self, operation: str, one: Any, other: Any) -> Any:
        return getattr(self.builder, operation)(one, other, flags=("contract",))

    def add(self, one: _Number, other: _Number) -> _Number:
        if one is None or other is None:
            return one or other
        return self._do("fadd", one[0], other[0]), self._do("fadd", one[1], other[1])

    def subtract(self, one: _Number, other: _Number) -> _Number:
        if other is None:
            return one
        if one is None:
            return self.builder.fneg(other[0]), self.builder.fneg(other[1])
        return self._do("fsub", one[0], other[0]), self._do("fsub", one[1], other[1])

    def scale(self, one: _Number, factor: float) -> _Number:
        if one is None:
            return None
        constant = ir.Constant(_VECTOR, [factor] * LANES)
        return self._do("fmul", one[0], constant), self._do("fmul", one[1], constant)

    def turn(self, one: _Number, sign: int) -> _Number:
        """Times i, or -i for a negative sign."""
        if one is None:
            return None
        if sign > 0:
            return self.builder.fneg(one[1]), one[0]
        return one[1], self.builder.fneg(one[0])

    def multiply(self, one: _Number, real: Any, imaginary: Any) -> _Number:
        if one is None:
            return None
        return (
            self._do("fsub", self._do("fmul", one[0], real), self._do("fmul", one[1], imaginary)),
            self._do("fadd", self._do("fmul", one[0], imaginary), self._do("fmul", one[1], real)),
        )

    def rotate(self, one: _Number, part: float) -> _Number:
        """Times ``exp(2 pi i part)``."""
        part %= 1
        if part in (0, 0.5):
            return one if part == 0 else self.subtract(None, one)
        if part in (0.25, 0.75):
            return self.turn(one, 1 if part == 0.25 else -1)
        factor = cmath.exp(2j * cmath.pi * part)
        return self.multiply(one, *(ir.Constant(_VECTOR, [number] * LANES) for number in (factor.real, factor.imag)))


def _transform(write: _Writer, x: list[_Number], sign: int) -> list[_Number]:
    """``y_k = sum_j x_j exp(sign 2 pi i j k / n)``."""
    n = len(x)
    if n == 2:
        return [write.add(x[0], x[1]), write.subtract(x[0], x[1])]
    if n in (3, 5):
        return _odd(write, x, sign)
    first = {4: 2, 6: 2, 8: 2, 9: 3, 10: 2}[n]
    rest = n // first
    inner = [_transform(write, x[place::rest], sign) for place in range(rest)]
    found: list[_Number] = [None] * n
    for k in range(first):
        turned = [write.rotate(inner[place][k], sign * place * k / n) for place in range(rest)]
        found[k::first] = _transform(write, turned, sign)
    return found


def _odd(write: _Writer, x: list[_Number], sign: int) -> list[_Number]:
    """Pairs of inputs from both ends: their sums meet cosines, their differences sines."""
    n = len(x)
    pairs = range(1, n // 2 + 1)
    sums = {j: write.add(x[j], x[n - j]) for j in pairs}
    differences = {j: write.subtract(x[j], x[n - j]) for j in pairs}
    total = x[0]
    for j in pairs:
        total = write.add(total, sums[j])
    found = [total] + [None] * (n - 1)
    for k in pairs:
        even, odd = x[0], None
        for j in pairs:
            turn = cmath.exp(2j * cmath.pi * j * k / n)
            even = write.add(even, write.scale(sums[j], turn.real))
            odd = write.add(odd, write.scale(differences[j], turn.imag))
        found[k] = write.add(even, write.turn(odd, sign))
        found[n - k] = write.subtract(even, write.turn(odd, sign))
    return found


def _butterfly(sign: int, *, half: bool) -> Callable[..., Any]:
    """Make an intrinsic ``(radix, planes, first, apart, turns, place)``: rows ``first + k apart``, k below ``radix``.

    ``planes`` is float32 ``[2, n, 16]``, real parts first, and is worked on in place. With a negative sign results are
    turned by ``turns[place + k - 1]`` (complex, as two float32), with a positive one inputs are turned back.
    ``half``: the upper half of the inputs is zero (negative sign), or of the outputs not wanted (positive).
    """

    @intrinsic
    def butterfly(typingctx, radix, planes, first, apart, turns, place):  # type: ignore[no-untyped-def]
        signature = types.void(types.intp, planes, types.intp, types.intp, turns, types.intp)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            array = context.make_array(signature.args[1])(context, builder, values[1])
            table = context.make_array(signature.args[4])(context, builder, values[4]).data
            rows = builder.extract_value(array.shape, 1)
            vectors = builder.bitcast(array.data, _VECTOR.as_pointer())
            end = builder.append_basic_block()
            switch = builder.switch(values[0], end)
            for length in RADICES:
                if half and length % 2:
                    continue
                block = builder.append_basic_block()
                switch.add_case(ir.Constant(_I64, length), block)
                builder.position_at_end(block)
                places = [
                    [builder.gep(vectors, [builder.add(row, plane)]) for plane in (ir.Constant(_I64, 0), rows)]
                    for row in (
                        builder.add(values[2], builder.mul(values[3], ir.Constant(_I64, k))) for k in range(length)
                    )
                ]
                start = builder.mul(values[5], ir.Constant(_I64, 2))
                factors = [
                    [
                        _spread(builder, builder.load(builder.gep(table, [builder.add(start, ir.Constant(_I64, at))])))
                        for at in (2 * k, 2 * k + 1)
                    ]
                    for k in range(length - 1)
                ]
                _work(builder, sign, places, factors, half=half)
                builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return signature, generate

    return butterfly


def _work(builder: Any, sign: int, places: list[Any], factors: list[Any], *, half: bool) -> None:
    """Load, transform and store what is at ``places``, a pair of pointers each."""
    write, radix = _Writer(builder), len(places)
    kept = radix // 2 if half else radix
    taken, stored = (kept, radix) if sign < 0 else (radix, kept)
    x: list[_Number] = [None] * radix
    for k in range(taken):
        parts = [builder.load(pointer) for pointer in places[k]]
        for part in parts:
            part.align = 4
        if sign > 0 and k:
            real, imaginary = factors[k - 1]
            x[k] = write.multiply((parts[0], parts[1]), real, builder.fneg(imaginary))
        else:
            x[k] = parts[0], parts[1]
    y = _transform(write, x, sign)
    for k in range(stored):
        result = write.multiply(y[k], *factors[k - 1]) if sign < 0 and k else y[k]
        assert result is not None
        for part, pointer in zip(result, places[k], strict=True):
            builder.store(part, pointer).align = 4


def _spread(builder: Any, number: Any) -> Any:
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(nothing, number, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))


forward = _butterfly(-1, half=False)
forward_half = _butterfly(-1, half=True)
backward = _butterfly(1, half=False)
backward_half = _butterfly(1, half=True)
