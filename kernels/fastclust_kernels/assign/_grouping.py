"""Groups of 16 centres that lie near each other, and parts of groups: what bounds are kept for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.assign._bounds import Groups
from fastclust_kernels.assign._vectors import PANEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["groups_of"]

_POWERS = 8


def groups_of(centers: NDArray[Any], parts: int = 1) -> Groups:
    """Halve the centres along the direction in which they spread most, until 16 or fewer are left in each group.

    Inside a group, go on in the same way until 16 / ``parts`` or fewer are left: part s takes the lanes s, s + parts,
    s + 2 parts, and so on.
    """
    k = len(centers)
    exact = centers.astype(np.float64)
    found = _halves(exact, np.arange(k), PANEL)
    members = np.full((len(found), PANEL), -1, np.int32)
    group, lane = np.empty(k, np.int32), np.empty(k, np.int32)
    for g, mine in enumerate(found):
        group[mine] = g
        for s, part in enumerate(_halves(exact, mine, PANEL // parts)):
            lane[part] = s + parts * np.arange(len(part))
        members[g, lane[mine]] = mine
    return Groups(members, group, lane)


def _halves(centers: NDArray[np.float64], part: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    if len(part) <= most:
        return [part]
    middle = (-(-len(part) // most) + 1) // 2 * most
    order = part[np.argsort(_along(centers[part]), kind="stable")]
    return _halves(centers, order[:middle], most) + _halves(centers, order[middle:], most)


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
