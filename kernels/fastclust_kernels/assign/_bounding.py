"""Scores of a tile against one group of centres, and the lower bounds on distances that follow from them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastclust_kernels.assign._limits import DOWN
from fastclust_kernels.assign._vectors import I32, I64, TILE, Vectors

__all__ = ["PARTS", "score_and_bound", "score_and_bound_two"]

#: Into how many parts a group may be divided, with a bound each: part s is the lanes s, s + parts, s + 2 parts, ...
PARTS = (1, 4, 16)


def _scorer(arguments: tuple[Any, ...], side: int) -> Any:
    rows, panel, half, skip, ahead, base, slack, places, scores, tops = arguments
    signature = types.void(
        rows, panel, half, types.intp, skip, ahead, base, slack, places, types.intp, scores, tops
    )  # fmt: skip

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, panel.dtype)
        skips, targets = make.address(4, I32), make.address(8, I64)
        bases, slacks = make.address(6, make.scalar), make.address(7, make.scalar)
        results, bests = make.address(10, make.vector), make.address(11, make.scalar)
        chosen = {count: builder.icmp_signed("==", make.value(9), ir.Constant(I64, count)) for count in PARTS}

        for row, found in make.scores(0, 1, 2, 3, side=side, ahead=5):
            for place, score in enumerate(found):
                number = place * TILE + row
                own = builder.icmp_signed("==", make.count, make.spread(make.load(skips, number, align=4)))
                left = builder.select(own, make.least, score)
                make.store(left, results, number, align=make.size)
                while left.type.count >= 1:
                    if left.type.count in chosen:
                        with builder.if_then(chosen[left.type.count]):
                            bound = _bound(
                                make,
                                left,
                                make.load(bases, row, align=make.size),
                                make.load(slacks, row, align=make.size),
                            )
                            target = builder.inttoptr(make.load(targets, number, align=8), bound.type.as_pointer())
                            builder.store(bound, target).align = 4
                    if left.type.count == 1:
                        break
                    left = make.halve(left, make.larger)
                make.store(builder.extract_element(left, ir.Constant(I32, 0)), bests, number, align=make.size)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def score_and_bound(typingctx, rows, panel, half, d, skip, ahead, base, slack, places, parts, scores, tops):  # type: ignore[no-untyped-def]
    """Write the ``scores`` ``[8, 16]``, each row's best one in ``tops`` ``[8]``, and its bounds where ``places`` says.

    ``rows``, ``panel``, ``half``, ``d`` and ``skip`` as for ``score_group``. ``ahead`` (int64 ``[8]``) are addresses of
    rows to bring near meanwhile. From the best score s of each of the ``parts`` of the group follows
    ``sqrt(base - 2 s) - slack``, rounded down: float32, at the row's address in ``places`` (int64 ``[8]``). ``base``
    and ``slack`` ``[8]`` have the dtype of the rows; README.md, Bounds between iterations, has their derivation.
    """
    return _scorer((rows, panel, half, skip, ahead, base, slack, places, scores, tops), 1)


@intrinsic
def score_and_bound_two(typingctx, rows, panels, halves, d, skip, ahead, base, slack, places, parts, scores, tops):  # type: ignore[no-untyped-def]
    """:func:`score_and_bound` for two groups and the same rows, in one pass.

    ``panels``, ``halves``, ``skip``, ``places``, ``scores`` and ``tops`` have one more dimension in front, of 2.
    """
    return _scorer((rows, panels, halves, skip, ahead, base, slack, places, scores, tops), 2)


def _bound(make: Vectors, score: Any, base: Any, slack: Any) -> Any:
    """Distances that are surely not above those of these scores."""
    builder, lanes = make.builder, score.type.count

    def constant(number: float) -> Any:
        return make.spread(ir.Constant(make.scalar, number), lanes)

    value = make.call("llvm.fma", constant(-2.0), score, make.spread(base, lanes))
    # Ordered: what is no number gives the bound 0.
    positive = builder.fcmp_ordered(">", value, constant(0.0))
    root = make.call("llvm.sqrt", builder.select(positive, value, constant(0.0)))
    away = builder.fsub(builder.fmul(root, constant(DOWN)), make.spread(slack, lanes))
    single = ir.VectorType(ir.FloatType(), lanes)
    if away.type != single:
        away = builder.fptrunc(away, single)
    return builder.fmul(away, make.spread(ir.Constant(ir.FloatType(), DOWN), lanes))
