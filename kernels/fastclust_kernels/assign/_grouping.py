"""Groups of 16 centres that lie near each other: what bounds are kept for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.assign._bounded import Groups
from fastclust_kernels.assign._vectors import PANEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["groups_of"]

_POWERS = 8


def groups_of(centers: NDArray[Any]) -> Groups:
    """Halve the centres along the direction in which they spread most, until 16 or fewer are left in each part."""
    k = len(centers)
    parts = _halves(centers.astype(np.float64), np.arange(k))
    members = np.full((len(parts), PANEL), -1, np.int32)
    group, lane = np.empty(k, np.int32), np.empty(k, np.int32)
    for g, part in enumerate(parts):
        # By number inside a group, so that the lowest of equal scores comes first.
        members[g, : len(part)] = np.sort(part)
        group[part], lane[np.sort(part)] = g, np.arange(len(part))
    return Groups(members, group, lane)


def _halves(centers: NDArray[np.float64], part: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    if len(part) <= PANEL:
        return [part]
    middle = (-(-len(part) // PANEL) + 1) // 2 * PANEL
    order = part[np.argsort(_along(centers[part]), kind="stable")]
    return _halves(centers, order[:middle]) + _halves(centers, order[middle:])


def _along(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates along the first principal direction, by a few power iterations: any spread direction will do."""
    points = points - points.mean(axis=0)
    scale = np.abs(points).max()
    if not 0 < scale < np.inf:
        return np.zeros(len(points))
    points = points / scale
    direction = points[np.einsum("ij,ij->i", points, points).argmax()]
    for _ in range(_POWERS):
        direction = points.T @ (points @ direction)
        direction /= np.linalg.norm(direction)
    along: NDArray[np.float64] = points @ direction
    return along
