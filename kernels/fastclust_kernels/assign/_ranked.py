"""Scores of 8 rows against one panel, ranked before they leave the registers: where there are few centres."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastclust_kernels.assign._vectors import I32, INDEX, TILE, Vectors

__all__ = ["rank_panel"]


def _transposed(make: Vectors, scores: list[Any]) -> list[Any]:
    """Vector v of 8 holds, of all 8 rows, lane 2 v and then lane 2 v + 1 of their scores.

    With the number of a vector (3 bits) before that of a lane (4 bits), zipping vector i with i + 4 turns the number of
    a place by one bit; three times brings the lane's upper bits to the front.
    """
    half = TILE // 2
    for _ in range(3):
        scores = [vector for i in range(half) for vector in make.zipped(scores[i], scores[i + half])]
    return scores


@intrinsic
def rank_panel(typingctx, rows, panel, half, d, ahead, first, labels, tops, nexts):  # type: ignore[no-untyped-def]
    """Write each row's best lane (int32), best and second best score from place ``first`` on; on a tie any of the best.

    ``rows``, ``panel``, ``half`` and ``d`` as for ``keep_best``; ``ahead`` (int64 ``[8]``) are addresses of rows to
    bring near meanwhile.
    """
    signature = types.void(rows, panel, half, types.intp, ahead, types.intp, labels, tops, nexts)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        make = Vectors(context, builder, signature, values, panel.dtype)
        columns = _transposed(make, [score for _, (score,) in make.scores(0, 1, 2, 3, ahead=4)])
        best, second, where = columns[0], make.least, ir.Constant(INDEX, None)
        for number, score in enumerate(columns[1:], 1):
            better = builder.fcmp_ordered(">", score, best)
            second = make.larger(builder.select(better, best, score), second)
            where = builder.select(better, make.spread(ir.Constant(I32, number)), where)
            best = builder.select(better, score, best)
        # The two halves are the even lanes and the odd ones.
        two, one = ir.Constant(I32, 2), ir.Constant(I32, 1)
        (even, odd), (low, high) = make.halves(best), make.halves(where)
        better = builder.fcmp_ordered(">", odd, even)
        beaten = builder.select(better, even, odd)
        low, high = (builder.mul(place, make.spread(two, TILE)) for place in (low, high))
        label = builder.select(better, builder.add(high, make.spread(one, TILE)), low)
        results = [
            (6, label, I32, 4),
            (7, builder.select(better, odd, even), make.scalar, make.size),
            (8, make.larger(beaten, make.larger(*make.halves(second))), make.scalar, make.size),
        ]
        for place, vector, kind, align in results:
            target = builder.gep(make.address(place, kind), [make.value(5)])
            builder.store(vector, builder.bitcast(target, vector.type.as_pointer())).align = align
        return context.get_dummy_value()

    return signature, generate
