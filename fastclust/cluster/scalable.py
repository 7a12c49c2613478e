"""k-means||: starting centres for many clusters, in a few passes over the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.cluster.chances import Chances
from fastclust.cluster.chunks import CHUNK
from fastclust.cluster.greedy import greedy_rows
from fastclust_kernels.assign.moving import MovingAssignment
from fastclust_kernels.update.moving import MovingSums

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust.cluster.rows import Rows

__all__ = ["parallel_start"]

_ROUNDS = 3
#: Rows drawn in a round, in clusters.
_DRAWN = 1.0
_POLISH = 5


def parallel_start(rows: Rows, k: int, weights: NDArray[np.float64] | None, random: RandomState) -> NDArray[Any]:
    """k-means|| (Bahmani et al., "Scalable K-Means++", VLDB 2012), then weighted k-means on what was drawn.

    Three rounds draw k rows each, with a chance proportional to weight times squared distance to the nearest drawn
    so far. Each drawn row then stands for the rows nearest to it; k of them are drawn in the same way and moved by five
    of Lloyd's iterations among them.
    """
    n = rows.shape[0]
    labels, nearest = rows.array(np.int32), rows.array(np.float64)
    nearest[:] = np.inf
    drawn = Chances(n, weights, None).draw(1, random)
    _closer(rows, rows.take(drawn), 0, labels, nearest)
    many = max(1, round(_DRAWN * k))
    for place in range(_ROUNDS + 1):
        chances = Chances(n, weights, nearest)
        wanted = min(many if place < _ROUNDS else max(0, k - len(drawn)), chances.possible)
        if not wanted:
            continue
        new = chances.draw(wanted, random)
        _closer(rows, rows.take(new), len(drawn), labels, nearest)
        drawn = np.concatenate([drawn, new])
        progress.report("seed", place + 1, _ROUNDS + 2, "k-means||")
    if len(drawn) < k:
        # Fewer distinct rows than clusters: any others.
        others = np.setdiff1d(np.arange(min(n, k + len(drawn))), drawn)[: k - len(drawn)]
        return rows.take(np.concatenate([drawn, others])).copy()
    stands = np.zeros(len(drawn))
    for start in range(0, n, CHUNK):
        here = slice(start, start + CHUNK)
        np.add.at(stands, labels[here], 1.0 if weights is None else weights[here])
    return _reduce(np.ascontiguousarray(rows.take(drawn)), stands, k, random)


def _closer(
    rows: Rows, points: NDArray[Any], first: int, labels: NDArray[np.int32], nearest: NDArray[np.float64]
) -> None:
    """Let rows go over to ``points``, numbered from ``first`` on, that are nearer."""
    for start, found, distances in rows.assigned(points, "auto"):
        here = slice(start, start + len(found))
        closer = distances < nearest[here]
        labels[here][closer] = found[closer] + np.int32(first)
        np.minimum(distances, nearest[here], out=nearest[here])


def _reduce(points: NDArray[Any], weights: NDArray[np.float64], k: int, random: RandomState) -> NDArray[Any]:
    """Weighted centres, k of them, of some points."""
    centers = points[greedy_rows(points, k, weights, random)].copy()
    moving, gathered = MovingAssignment(points, k), MovingSums(points, k, weights)
    for _ in range(_POLISH):
        sums, total, _ = gathered.step(moving.step(centers))
        held = total > 0
        centers[held] = (sums[held] / total[held, None]).astype(points.dtype)
    return centers
