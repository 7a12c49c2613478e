"""A point and the 4 x 4 nodes around it, under a cubic B-spline, written as LLVM vectors of four."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["charge_at", "field_at"]

_NODES = 4
_I32, _I64, _F32, _F64 = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()
_FLAGS = ("contract",)
#: Weights of the four nodes around a point at t in [0, 1) between the second and the third: powers of t from the third
#: to none, a line each.
_WINDOW = np.array([[-1, 3, -3, 1], [3, -6, 3, 0], [-3, 0, 3, 0], [1, 4, 1, 0]]) / 6


def _overlaps() -> list[list[float]]:
    """A window against itself, 0 to 3 nodes on: powers of t (1 - t) from the third to none, a line each.

    Turned round, the window at t is that at 1 - t, so there are no others.
    """
    t = np.array([0.0, 0.1, 0.2, 0.4])
    weights = np.vander(t, 4) @ _WINDOW
    products = [(weights[:, : _NODES - shift] * weights[:, shift:]).sum(axis=1) for shift in range(_NODES)]
    lines: list[list[float]] = np.linalg.solve(np.vander(t * (1 - t), 4), np.array(products).T).tolist()
    return lines


_OVERLAPS = _overlaps()


@intrinsic
def field_at(typingctx, across, along, row, column, s, t):  # type: ignore[no-untyped-def]
    """Both fields, float32 ``[rows, columns]``, at a point.

    It is at ``s`` between nodes ``row + 1`` and ``row + 2``, and at ``t`` between ``column + 1`` and ``column + 2``.
    """
    numbers = types.intp, types.intp, types.float32, types.float32
    signature = types.UniTuple(types.float32, 2)(across, along, *numbers)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        down, right = (_powers(builder, number, _WINDOW.tolist()) for number in given[4:])
        found = []
        for at in range(2):
            nodes = _Nodes(context, builder, signature.args[at], given[at], given[2], given[3])
            total: Any = None
            for k in range(_NODES):
                part = _times(builder, _lane(builder, down, k), nodes.load(k))
                total = part if total is None else builder.fadd(total, part, flags=_FLAGS)
            found.append(_sum(builder, _times(builder, total, right)))
        return context.make_tuple(builder, signature.return_type, found)

    return signature, generate


@intrinsic
def charge_at(typingctx, grid, row, column, s, t, own):  # type: ignore[no-untyped-def]
    """Add a unit charge to ``grid``, placed as for :func:`field_at`; return what the grid says that it does to itself.

    ``own`` is float64 ``[4, 4]``: what charges at one node do to one another that is 0 to 3 nodes on in each direction,
    counted on both sides.
    """
    numbers = types.intp, types.intp, types.float32, types.float32
    signature = types.float64(grid, *numbers, own)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        nodes = _Nodes(context, builder, signature.args[0], given[0], given[1], given[2])
        down, right = (_powers(builder, number, _WINDOW.tolist()) for number in given[3:5])
        for k in range(_NODES):
            part = _times(builder, _lane(builder, down, k), right)
            nodes.store(k, builder.fadd(nodes.load(k), part, flags=_FLAGS))
        overlaps = []
        for number in given[3:5]:
            wide = builder.fpext(number, _F64)
            product = builder.fmul(wide, builder.fsub(ir.Constant(_F64, 1.0), wide))
            overlaps.append(_powers(builder, product, _OVERLAPS))
        lags = _Nodes(context, builder, signature.args[5], given[5], ir.Constant(_I64, 0), ir.Constant(_I64, 0))
        total: Any = None
        for k in range(_NODES):
            part = _times(builder, _lane(builder, overlaps[0], k), lags.load(k))
            total = part if total is None else builder.fadd(total, part, flags=_FLAGS)
        return _sum(builder, _times(builder, total, overlaps[1]))

    return signature, generate


class _Nodes:
    """Four lines of four numbers of a C-contiguous array, from a row and a column on."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any, row: Any, column: Any) -> None:
        array = context.make_array(kind)(context, builder, value)
        self._builder = builder
        self._size = kind.dtype.bitwidth // 8
        vector = ir.VectorType(_F32 if self._size == 4 else _F64, _NODES)
        wide = builder.extract_value(array.shape, 1)
        self._lines = [
            builder.bitcast(
                builder.gep(
                    array.data, [builder.add(builder.mul(builder.add(row, ir.Constant(_I64, k)), wide), column)]
                ),
                vector.as_pointer(),
            )
            for k in range(_NODES)
        ]

    def load(self, k: int) -> Any:
        vector = self._builder.load(self._lines[k])
        vector.align = self._size
        return vector

    def store(self, k: int, vector: Any) -> None:
        self._builder.store(vector, self._lines[k]).align = self._size


def _powers(builder: Any, number: Any, lines: Sequence[Sequence[float]]) -> Any:
    """Four polynomials of a number, by Horner's rule; the highest power's factors first."""
    kind = ir.VectorType(number.type, _NODES)
    spread = _lane(builder, builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(_I32, 0)), 0)
    found: Any = ir.Constant(kind, list(lines[0]))
    for line in lines[1:]:
        found = builder.fadd(_times(builder, found, spread), ir.Constant(kind, list(line)), flags=_FLAGS)
    return found


def _times(builder: Any, one: Any, other: Any) -> Any:
    return builder.fmul(one, other, flags=_FLAGS)


def _lane(builder: Any, vector: Any, k: int) -> Any:
    """One number of a vector in all places."""
    lanes = ir.Constant(ir.VectorType(_I32, _NODES), [k] * _NODES)
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), lanes)


def _sum(builder: Any, vector: Any) -> Any:
    """The sum of a vector's numbers, halves upon halves."""
    for half in (2, 1):
        lanes = ir.Constant(ir.VectorType(_I32, _NODES), [(k + half) % _NODES for k in range(_NODES)])
        vector = builder.fadd(vector, builder.shuffle_vector(vector, vector, lanes))
    return builder.extract_element(vector, ir.Constant(_I32, 0))
