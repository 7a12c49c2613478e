"""A few known labels, spread along a neighbour graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastclust.mining.diffusion import diffused

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

__all__ = ["spread_labels"]

#: Damping of the diffusion, as in mining.
_ALPHA = 0.99
#: Relative residual, and the iterations that are far more than it takes.
_TOLERANCE, _ITERATIONS = 1e-6, 1000
#: Labels at once: memory is that of as many float64 columns, a few times.
_AT_ONCE = 16


def spread_labels(
    transition: csr_matrix, labels: NDArray[np.int64], tick: Callable[[float], None] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Spread known labels along the graph: return a label (int64) and a confidence in [0, 1] (float32) of each row.

    ``transition`` is the normalised affinity S, ``labels`` ``[n]`` with -1 where unknown; those known stay, with
    confidence 1. Rows that no known row reaches get -1 and 0. The scores are (I - 0.99 S)^-1 Y, where each label
    counts alike, however many rows have it. Source: Zhou, Bousquet, Lal, Weston, Schoelkopf, "Learning with Local and
    Global Consistency", NIPS 2003; the confidence is the margin between the two best scores over their sum. ``tick``
    is told the share that is done.
    """
    known = np.flatnonzero(labels >= 0)
    names, places = np.unique(labels[known], return_inverse=True)
    share = 1 / np.bincount(places)[places] if len(known) else np.empty(0)
    n = len(labels)
    best, second, winner = np.zeros(n), np.zeros(n), np.full(n, -1, np.int64)
    for first in range(0, len(names), _AT_ONCE):
        last = min(first + _AT_ONCE, len(names))
        if tick is not None:
            tick(first / len(names))
        start = np.zeros((n, last - first))
        own = (places >= first) & (places < last)
        start[known[own], places[own] - first] = share[own]
        scores = diffused(transition, start, alpha=_ALPHA, iterations=_ITERATIONS, tolerance=_TOLERANCE)
        for name, score in zip(names[first:last], scores.T, strict=True):
            ahead = score > best
            second = np.where(ahead, best, np.maximum(second, score))
            winner[ahead], best = name, np.maximum(best, score)
    reached = best > 0
    confidence = np.where(reached, (best - second) / np.where(reached, best + second, 1), 0)
    winner[known], confidence[known] = labels[known], 1
    return winner, confidence.astype(np.float32)
