"""k-means||: starting centres for many clusters, in a few passes over the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust_kernels.assign import greedy_plus_plus
from fastclust_kernels.assign.moving import MovingAssignment
from fastclust_kernels.update.moving import MovingSums

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust.cluster.rows import Rows

__all__ = ["chosen", "parallel_start"]

#: Multiply-adds of exact k-means++ beyond which "auto" takes k-means||.
_DEAR = 2e9
_ROUNDS = 3
#: Rows drawn in a round, in clusters.
_DRAWN = 1.0
_POLISH = 5


def chosen(shape: tuple[int, int], k: int) -> str:
    """Which start "auto" is: exact k-means++ as long as it takes a fraction of a second."""
    n, d = shape
    trials = 2 + int(np.log(k))
    return "k-means++" if float(n) * d * k * trials <= _DEAR else "k-means||"


def parallel_start(rows: Rows, k: int, weights: NDArray[np.float64], random: RandomState) -> NDArray[Any]:
    """k-means|| (Bahmani et al., "Scalable K-Means++", VLDB 2012), then weighted k-means on what was drawn.

    Three rounds draw k rows each, with a chance proportional to weight times squared distance to the nearest drawn
    so far. Each drawn row then stands for the rows nearest to it; k of them are drawn in the same way and moved by five
    of Lloyd's iterations among them.
    """
    drawn = random.choice(len(weights), size=1, p=weights / weights.sum())
    labels, nearest, _ = rows.assign(rows.take(drawn), "auto")
    many = max(1, round(_DRAWN * k))
    for place in range(_ROUNDS + 1):
        chance = weights * nearest
        possible = int(np.count_nonzero(chance))
        wanted = min(many if place < _ROUNDS else max(0, k - len(drawn)), possible)
        if not wanted:
            continue
        new = random.choice(len(weights), size=wanted, replace=False, p=chance / chance.sum())
        found, distances, _ = rows.assign(rows.take(new), "auto")
        closer = distances < nearest
        labels = np.where(closer, found + np.int32(len(drawn)), labels)
        nearest = np.minimum(distances, nearest)
        drawn = np.concatenate([drawn, new])
        progress.report("seed", place + 1, _ROUNDS + 2, "k-means||")
    if len(drawn) < k:
        # Fewer distinct rows than clusters: any others.
        others = np.setdiff1d(np.arange(len(weights)), drawn)[: k - len(drawn)]
        return rows.take(np.concatenate([drawn, others])).copy()
    stands = np.bincount(labels, weights, len(drawn)).astype(np.float64)
    return _reduce(np.ascontiguousarray(rows.take(drawn)), stands, k, random)


def _reduce(points: NDArray[Any], weights: NDArray[np.float64], k: int, random: RandomState) -> NDArray[Any]:
    """Weighted centres, k of them, of some points."""
    centers = points[greedy_rows(points, k, weights, random, 2 + int(np.log(k)))].copy()
    moving, gathered = MovingAssignment(points, k), MovingSums(points, k, weights)
    for _ in range(_POLISH):
        sums, total, _ = gathered.step(moving.step(centers))
        held = total > 0
        centers[held] = (sums[held] / total[held, None]).astype(points.dtype)
    return centers


def greedy_rows(
    X: NDArray[Any], k: int, weights: NDArray[np.float64], random: RandomState, trials: int
) -> NDArray[np.int64]:
    """Numbers of k different rows by greedy k-means++; any rows once all lie on chosen ones."""
    first = int(random.choice(len(X), p=weights / weights.sum()))
    draws = random.uniform(size=(k - 1, min(trials, 16)))
    chosen = greedy_plus_plus(X, weights, first, draws)
    left = chosen < 0
    if left.any():
        others = np.setdiff1d(np.arange(len(X)), chosen[~left])
        chosen[left] = others[: int(left.sum())]
    return chosen
