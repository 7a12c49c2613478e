"""What the first panels say of the k-th best score of a row, before any candidate is kept.

The columns of the panels, dealt out to bins, have a best score a bin; the k-th best of these is no better than the
k-th best of all. With twice as many bins as k, about 1.4 k scores reach it. Were candidates kept as they come,
``k (1 + log(columns / k))`` would be, each by way of a heap.
"""

from __future__ import annotations

import numba
import numpy as np

from fastclust_kernels.mahalanobis._tiles import TILE, count_at_least, score

__all__ = ["first_scores", "kth_of_bins", "sets_for"]

#: Sets of bins, one a lane, at most.
_MOST_SETS = 4


def sets_for(k: int, lanes: int) -> int:
    """How many sets of ``lanes`` bins tell the k-th best; 0 if that would take too many."""
    if k > _MOST_SETS * lanes // 2:
        return 0
    return max(1, -(-2 * k // lanes))


@numba.njit(cache=True, nogil=True)
def first_scores(address, panels, halves, rank, sets, scores, bests):  # type: ignore[no-untyped-def]
    """Write scores of 8 rows with some panels, ``[panels, 8, lanes]``, and the bins' bests, ``[sets, 8, lanes]``."""
    bests[:] = -np.inf
    for g in range(len(panels)):
        score(address, panels[g], halves[g], rank, scores[g], bests[g % sets])


@numba.njit(cache=True, nogil=True)
def kth_of_bins(bests, row, k):  # type: ignore[no-untyped-def]
    """Return the k-th largest of a row's bins ``[sets * 8, lanes]``; minus infinity where fewer have a score."""
    found = -np.inf
    for first in range(row, len(bests), TILE):
        for lane in range(bests.shape[1]):
            value = bests[first, lane]
            if value <= found:
                continue
            count = 0
            for other in range(row, len(bests), TILE):
                count += count_at_least(bests, other, value)
            if count >= k:
                found = value
    return found
