"""The nearest so far of each query, as blocks of rows come by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SPARE", "Nearest"]

#: Candidates kept beyond those wanted: they are ranked again in float64.
SPARE = 8
#: Scores that are looked at together.
_CELLS = 1 << 24


class Nearest:
    """The ``keep`` best of each of ``q`` queries: scores, rising, and numbers of rows.

    Which of several with the same score are kept, the lower numbers, does not depend on how rows are cut into blocks.
    """

    def __init__(self, q: int, keep: int) -> None:
        self.scores = np.full((q, keep), np.inf)
        self.numbers = np.full((q, keep), -1, np.int64)

    def merge(self, which: slice, scores: NDArray[np.float64], numbers: NDArray[np.int64]) -> None:
        """Take ``scores`` ``[some, b]`` of the queries ``which`` for rows ``numbers`` ``[some, b]``."""
        many = np.arange(len(self.scores))[which]
        keep = self.scores.shape[1]
        step = max(1, _CELLS // (scores.shape[1] + keep))
        for start in range(0, len(many), step):
            mine = many[start : start + step]
            new = scores[start : start + step]
            names = numbers[start : start + step]
            if new.shape[1] > 2 * keep:
                # The cut is by score; of those that tie with the last one, the lowest numbers.
                last = np.partition(new, keep - 1, axis=1)[:, keep - 1 : keep]
                crowd = (new <= last).sum(axis=1).max()
                place = np.argpartition(new, min(crowd, new.shape[1]) - 1, axis=1)[:, :crowd]
                new, names = np.take_along_axis(new, place, 1), np.take_along_axis(names, place, 1)
            both = np.concatenate([self.scores[mine], new], axis=1)
            named = np.concatenate([self.numbers[mine], names], axis=1)
            order = np.lexsort((named, both), axis=1)[:, :keep]
            self.scores[mine] = np.take_along_axis(both, order, 1)
            self.numbers[mine] = np.take_along_axis(named, order, 1)
