"""Moving centres that are of little use to where one more is of much."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust.cluster.rows import DenseRows

__all__ = ["Swaps", "swaps"]

#: Rows of each cluster that are tried as a centre, and how much more than it costs a move has to gain.
_TRIALS, _MARGIN = 3, 1.2


class Swaps(NamedTuple):
    """Which centres move, and into which clusters."""

    #: Centres that leave their place, the clusters that they go to, and the rows on which they come to lie, ``[m]``.
    centers: NDArray[np.int64]
    clusters: NDArray[np.int64]
    rows: NDArray[np.int64]


def swaps(
    rows: DenseRows,
    labels: NDArray[np.int32],
    nearest: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]],
    k: int,
    weights: NDArray[np.float64] | None,
    random: RandomState,
) -> Swaps:
    """Pair centres of the least utility with clusters that gain most from another centre (Fritzke, "LBG-U", 1997).

    The utility of a centre is by how much the inertia grows without it: its rows go to their second nearest centre.
    What a cluster gains is told by a few of its rows, drawn with a chance proportional to their part of the inertia.
    ``nearest`` is as :meth:`~fastclust_kernels.assign.candidates.CandidateSearch.seconds` returns it. The centre
    that most rows of a moved one go to stays, and so does that of a cluster which gets another.
    """
    own, second, heirs = nearest
    share = own if weights is None else own * weights
    loss = second - own
    if weights is not None:
        loss = np.multiply(loss, weights, out=np.zeros_like(loss), where=weights > 0)
    utility = np.bincount(labels, np.maximum(loss, 0.0), k)
    gain, best = _gains(rows, labels, share, k, weights, random)
    heir = _heirs(labels, heirs, k)
    leaving, entered = np.argsort(utility, kind="stable"), np.argsort(-gain, kind="stable")
    stays, left = np.zeros(k, bool), np.zeros(k, bool)
    moves: list[tuple[int, int]] = []
    i = j = 0
    while i < k and j < k:
        center, cluster = leaving[i], entered[j]
        if stays[center] or center == cluster or (heir[center] >= 0 and left[heir[center]]):
            i += 1
        elif left[cluster]:
            j += 1
        elif not gain[cluster] > _MARGIN * utility[center]:
            break
        else:
            moves.append((center, cluster))
            left[center] = stays[cluster] = True
            if heir[center] >= 0:
                stays[heir[center]] = True
            i, j = i + 1, j + 1
    pairs = np.array(moves, np.int64).reshape(-1, 2)
    return Swaps(pairs[:, 0], pairs[:, 1], best[pairs[:, 1]])


def _gains(
    rows: DenseRows,
    labels: NDArray[np.int32],
    share: NDArray[np.float64],
    k: int,
    weights: NDArray[np.float64] | None,
    random: RandomState,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How much the inertia of each cluster falls if one of its rows becomes a centre too, and which row."""
    order = np.argsort(labels, kind="stable")
    totals = np.concatenate([[0.0], np.cumsum(share[order])])
    ends = np.searchsorted(labels[order], np.arange(k + 1))
    first, last = totals[ends[:-1]], totals[ends[1:]]
    gain, best = np.zeros(k), np.zeros(k, np.int64)
    for draw in random.uniform(size=(_TRIALS, k)):
        place = np.searchsorted(totals, first + draw * (last - first), side="right") - 1
        row = order[np.clip(place, 0, len(order) - 1)]
        # Rounding, or an empty cluster, may have led to a row of another one.
        fits = labels[row] == np.arange(k)
        apart = rows.own(rows.take(row), labels)
        fall = np.bincount(labels, np.maximum(share - (apart if weights is None else apart * weights), 0.0), k)
        better = fits & (fall > gain)
        gain, best = np.where(better, fall, gain), np.where(better, row, best)
    return gain, best


def _heirs(labels: NDArray[np.int32], heirs: NDArray[np.int32], k: int) -> NDArray[np.int64]:
    """The second nearest centre of most rows of each cluster; -1 where there is none."""
    known = heirs >= 0
    pairs, counts = np.unique(labels[known].astype(np.int64) * k + heirs[known], return_counts=True)
    # The last of each cluster, in the order of counts, is the most frequent one.
    order = np.lexsort((counts, pairs // k))
    found = np.full(k, -1, np.int64)
    found[pairs[order] // k] = pairs[order] % k
    return found
