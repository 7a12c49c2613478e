"""Bounds on the distances of rows to groups of centres, and how they follow from scores and from exact distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from fastclust_kernels.arrays import empty_on_lines
from fastclust_kernels.assign._exact import squared
from fastclust_kernels.assign._limits import DOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FLOOR", "UP", "Bounds", "Groups", "above", "below", "decide", "home_of", "panels_of"]

_DOWN = np.float32(DOWN)
UP = np.float32(1 + 2.0**-22)
#: Below float32's normal numbers roundings are absolute; every bound stays this far off.
FLOOR = 2.0**-124


class Bounds(NamedTuple):
    """What is known of each row from the iterations before; all distances, not squared."""

    #: float64 [n]: |x|^2 from the origin of scores.
    squares: NDArray[np.float64]
    #: float32 [n]: no less than the distance to the row's own centre.
    upper: NDArray[np.float32]
    #: float32 [n, groups * parts]: no more than the distance to any other centre of the part.
    lower: NDArray[np.float32]


class Groups(NamedTuple):
    """Centres that lie near each other, 16 to a group."""

    #: int32 [groups, 16]; -1 where a group has fewer.
    members: NDArray[np.int32]
    #: int32 [k]: the group of each centre, and its place there.
    group: NDArray[np.int32]
    lane: NDArray[np.int32]


def panels_of(table: NDArray[np.int32], moved: NDArray[Any], half: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Centres of a table ``[p, 16]`` as panels ``[p, d, 16]``, and their half norms; places without one never win."""
    taken = np.maximum(table, 0)
    halves = np.ascontiguousarray(np.where(table < 0, half.dtype.type(np.inf), half[taken]))
    panels = empty_on_lines((len(table), moved.shape[1], table.shape[1]), moved.dtype)
    panels[:] = moved[taken].transpose(0, 2, 1)
    return panels, halves


@numba.njit(cache=True)
def below(squares, score, doubt, slack):  # type: ignore[no-untyped-def]
    """A distance that is surely not above the one of this score."""
    value = squares - 2.0 * (np.float64(score) + doubt)
    if not value > 0.0:
        return np.float32(0.0)
    return np.float32(np.sqrt(value) - slack) * _DOWN


@numba.njit(cache=True)
def above(squares, score, doubt, slack):  # type: ignore[no-untyped-def]
    """A distance that is surely not below the one of this score."""
    value = squares - 2.0 * (np.float64(score) - doubt)
    if not value < np.inf:
        return np.float32(np.inf)
    return np.float32(np.sqrt(max(value, 0.0)) + slack) * UP


@numba.njit(cache=True)
def home_of(group, place, parts, c):  # type: ignore[no-untyped-def]
    """The bound that counts centre ``c``."""
    return group[c] * parts + (place[c] & (parts - 1))


@numba.njit(cache=True)
def decide(x, centers, members, group, place, parts, row, old, slack, labels, lower, upper):  # type: ignore[no-untyped-def]
    """Differences in float64 for the parts that may hold the nearest centre, and bounds that follow from them."""
    c = labels[row]
    nearest = squared(x, centers[c])
    before = squared(x, centers[old])
    if before < nearest or (before == nearest and old < c):
        c, nearest = old, before
    limit = np.float32(np.sqrt(nearest) + slack) * UP
    for part in range(len(members) * parts):
        if limit < lower[row, part]:
            continue
        second = np.inf
        for member in members[part // parts, part % parts :: parts]:
            if member < 0 or member == c:
                continue
            distance = squared(x, centers[member])
            if distance < nearest or (distance == nearest and member < c):
                # The one that was first is now among the others, of this part or of one seen before.
                home = home_of(group, place, parts, c)
                if home == part:
                    second = min(second, nearest)
                else:
                    lower[row, home] = min(lower[row, home], np.float32(np.sqrt(nearest) - slack) * _DOWN)
                c, nearest = member, distance
            else:
                second = min(second, distance)
        lower[row, part] = max(np.float32(np.sqrt(second) - slack) * _DOWN, np.float32(0.0))
    if old != c:
        known = max(np.float32(np.sqrt(before) - slack) * _DOWN, np.float32(0.0))
        home = home_of(group, place, parts, old)
        lower[row, home] = min(lower[row, home], known)
    labels[row] = c
    upper[row] = np.float32(np.sqrt(nearest) + slack) * UP
