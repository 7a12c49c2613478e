"""Assignment with bounds: only the groups of centres that may hold a nearer one are scored, row by row.

Yinyang's bounds (Ding et al., "Yinyang K-Means", ICML 2015) on groups of 16 centres. Rows that need a group are listed
and scored eight at a time wherever they lie, so that a bound that fails costs one tile's share and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from fastclust_kernels.assign._dense import doubt_of, length_of, move
from fastclust_kernels.assign._exact import squared
from fastclust_kernels.assign._limits import DOWN, fall, lowest, within
from fastclust_kernels.assign._scores import score_group
from fastclust_kernels.assign._vectors import PANEL, TILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Bounds", "Groups", "sweep"]

#: Bytes of rows that are worked on together, and their number.
_ROWS_BYTES = 768 * 1024
_MOST_ROWS = 512
_DOWN = np.float32(DOWN)
_UP = np.float32(1 + 2.0**-22)
#: Below float32's normal numbers roundings are absolute; every bound stays this far off.
_FLOOR = 2.0**-124


class Bounds(NamedTuple):
    """What is known of each row from the iterations before; all distances, not squared."""

    #: float64 [n]: |x|^2 from the origin of scores.
    squares: NDArray[np.float64]
    #: float32 [n]: no less than the distance to the row's own centre.
    upper: NDArray[np.float32]
    #: float32 [n, groups]: no more than the distance to any other centre of the group.
    lower: NDArray[np.float32]


class Groups(NamedTuple):
    """Centres that lie near each other, 16 to a group."""

    #: int32 [groups, 16]; -1 where a group has fewer.
    members: NDArray[np.int32]
    #: int32 [k]: the group of each centre, and its place there.
    group: NDArray[np.int32]
    lane: NDArray[np.int32]


def sweep(
    X: NDArray[Any],
    centers: NDArray[Any],
    moved: NDArray[Any],
    drift: NDArray[np.float32],
    groups: Groups,
    bounds: Bounds,
    frame: Any,
    labels: NDArray[np.int32],
    *,
    first: bool,
) -> int:
    """Update ``labels`` and ``bounds`` for centres that moved by ``drift`` ``[k]``; return how many tiles were scored.

    ``moved`` is ``centers`` from the frame's origin. The ``first`` sweep looks at all and sets the bounds; any
    labels in range will do for it, the better the quicker.
    """
    d = X.shape[1]
    squares = np.einsum("ij,ij->i", moved, moved, dtype=np.float64)
    half = (0.5 * squares).astype(X.dtype)
    taken = np.maximum(groups.members, 0)
    missing = groups.members < 0
    panels = np.ascontiguousarray(moved[taken].transpose(0, 2, 1))
    halves = np.where(missing, X.dtype.type(np.inf), half[taken])
    drifts = np.where(missing, np.float32(0), drift[taken]).max(axis=1)
    reach = float(np.sqrt(squares.max()))
    rows = int(np.clip(_ROWS_BYTES // (d * X.itemsize) // TILE * TILE, 64, _MOST_ROWS))
    threads = numba.get_num_threads()
    tiles = np.zeros(threads, np.int64)
    _sweep(
        X, centers, moved, half, drift, *groups, panels, halves, drifts, *bounds,
        frame.shift, frame.shifted, frame.unit, reach, rows, first, labels, tiles, threads,
    )  # fmt: skip
    return int(tiles.sum())


@numba.njit(cache=True, fastmath={"contract", "reassoc"})
def _product(x, c):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for j in range(len(x)):
        total += x[j] * c[j]
    return total


@numba.njit(cache=True)
def _below(squares, score, doubt, slack):  # type: ignore[no-untyped-def]
    """A distance that is surely not above the one of this score."""
    value = squares - 2.0 * (np.float64(score) + doubt)
    if not value > 0.0:
        return np.float32(0.0)
    return np.float32(np.sqrt(value) - slack) * _DOWN


@numba.njit(cache=True)
def _above(squares, score, doubt, slack):  # type: ignore[no-untyped-def]
    """A distance that is surely not below the one of this score."""
    value = squares - 2.0 * (np.float64(score) - doubt)
    if not value < np.inf:
        return np.float32(np.inf)
    return np.float32(np.sqrt(max(value, 0.0)) + slack) * _UP


@numba.njit(parallel=True, cache=True, nogil=True)
def _sweep(  # type: ignore[no-untyped-def]
    X, centers, moved, half, drift, members, group, place, panels, halves, drifts, squares, upper, lower,
    shift, shifted, unit, reach, rows, first, labels, tiles, threads,
):  # fmt: skip
    n, d = X.shape
    width = d * X.itemsize
    count_groups = len(members)
    blocks = (n + rows - 1) // rows
    largest = np.finfo(X.dtype).max / 8
    tiny = np.float64(np.finfo(X.dtype).tiny)
    for thread in numba.prange(threads):
        local = np.empty((rows if shifted else 1, d), X.dtype)
        active = np.empty(rows, np.int64)
        least = np.empty(rows, np.float32)
        best = np.empty(rows, X.dtype)
        rest = np.empty(rows, X.dtype)
        beaten = np.empty(rows, X.dtype)
        own = np.empty(rows, X.dtype)
        doubt = np.empty(rows, np.float64)
        slack = np.empty(rows, np.float64)
        label = np.empty(rows, np.int32)
        wanted = np.empty((count_groups, rows), np.int32)
        length = np.empty(count_groups, np.int64)
        address = np.empty(TILE, np.int64)
        skip = np.empty(TILE, np.int32)
        scores = np.empty((TILE, PANEL), X.dtype)
        tops = np.empty(TILE, X.dtype)
        done = 0
        for block in range(thread, blocks, threads):
            start = block * rows
            count = min(rows, n - start)
            base = local.ctypes.data if shifted else X.ctypes.data + start * width
            length[:] = 0
            # Rows and groups that the bounds do not settle, in three passes without branches to guess.
            open_rows = 0
            for i in range(count):
                row = start + i
                if first:
                    lower[row] = 0.0
                    upper[row] = np.inf
                limit = (upper[row] + drift[labels[row]]) * _UP
                upper[row] = limit
                active[open_rows] = i
                least[open_rows] = fall(lower[row], drifts, count_groups)
                open_rows += not limit < least[open_rows]
            working = 0
            for o in range(open_rows):
                i = active[o]
                row = start + i
                c = labels[row]
                if shifted:
                    move(X[row], shift, local[i])
                here = local[i] if shifted else X[row]
                if first:
                    squares[row] = length_of(here)
                score = _product(here, moved[c]) - half[c]
                # Where products may overflow, nothing is certain.
                overflows = squares[row] + reach * reach > largest
                active[working] = i
                label[working] = c
                own[working] = score
                best[working] = score
                beaten[working] = -np.inf
                doubt[working] = np.inf if overflows else doubt_of(squares[row], reach, d, unit, tiny)
                slack[working] = _FLOOR + (2.0 * unit * (np.sqrt(squares[row]) + reach) if shifted else 0.0)
                limit = min(upper[row], _above(squares[row], score, doubt[working], slack[working]))
                upper[row] = limit
                working += not limit < least[o]
            for a in range(working):
                row = start + active[a]
                for some in range(0, count_groups, PANEL):
                    bits = within(lower[row], some, count_groups, upper[row])
                    while bits:
                        g = some + lowest(bits)
                        wanted[g, length[g]] = a
                        length[g] += 1
                        bits &= bits - 1
            for g in range(count_groups):
                many = length[g]
                done += (many + TILE - 1) // TILE
                for t in range(0, many, TILE):
                    used = min(TILE, many - t)
                    for r in range(TILE):
                        a = wanted[g, t + min(r, used - 1)]
                        address[r] = base + active[a] * width
                        mine = label[a]
                        skip[r] = place[mine] if group[mine] == g else -1
                    score_group(address, panels[g], halves[g], d, skip, scores, tops)
                    for r in range(used):
                        a = wanted[g, t + r]
                        row = start + active[a]
                        top = tops[r]
                        lower[row, g] = _below(squares[row], top, doubt[a], slack[a])
                        if top > best[a]:
                            # The lowest number wins ties, which are decided below; here any of them will do.
                            winner = 0
                            runner = X.dtype.type(-np.inf)
                            for lane in range(PANEL):
                                if scores[r, lane] == top:
                                    winner = lane
                            for lane in range(PANEL):
                                if lane != winner:
                                    runner = max(runner, scores[r, lane])
                            beaten[a] = max(max(beaten[a], best[a]), runner)
                            best[a] = top
                            rest[a] = runner
                            labels[row] = members[g, winner]
                        else:
                            beaten[a] = max(beaten[a], top)
            for a in range(working):
                row = start + active[a]
                if np.float64(best[a]) - np.float64(beaten[a]) > 2.0 * doubt[a]:
                    c = labels[row]
                    old = label[a]
                    if c != old:
                        # The winner's own group no longer counts the winner; the old centre's group counts that again.
                        lower[row, group[c]] = _below(squares[row], rest[a], doubt[a], slack[a])
                        known = _below(squares[row], own[a], doubt[a], slack[a])
                        lower[row, group[old]] = min(lower[row, group[old]], known)
                        upper[row] = _above(squares[row], best[a], doubt[a], slack[a])
                else:
                    _decide(X[row], centers, members, group, row, label[a], slack[a], labels, lower, upper)
        tiles[thread] = done


@numba.njit(cache=True)
def _decide(x, centers, members, group, row, old, slack, labels, lower, upper):  # type: ignore[no-untyped-def]
    """Differences in float64 for the groups that may hold the nearest centre, and bounds that follow from them."""
    c = labels[row]
    nearest = squared(x, centers[c])
    before = squared(x, centers[old])
    if before < nearest or (before == nearest and old < c):
        c, nearest = old, before
    limit = np.float32(np.sqrt(nearest) + slack) * _UP
    for g in range(len(members)):
        if limit < lower[row, g]:
            continue
        second = np.inf
        for member in members[g]:
            if member < 0 or member == c:
                continue
            distance = squared(x, centers[member])
            if distance < nearest or (distance == nearest and member < c):
                # The one that was first is now among the others, of this group or of one seen before.
                home = group[c]
                if home == g:
                    second = min(second, nearest)
                else:
                    lower[row, home] = min(lower[row, home], np.float32(np.sqrt(nearest) - slack) * _DOWN)
                c, nearest = member, distance
            else:
                second = min(second, distance)
        lower[row, g] = max(np.float32(np.sqrt(second) - slack) * _DOWN, np.float32(0.0))
    if old != c:
        known = max(np.float32(np.sqrt(before) - slack) * _DOWN, np.float32(0.0))
        lower[row, group[old]] = min(lower[row, group[old]], known)
    labels[row] = c
    upper[row] = np.float32(np.sqrt(nearest) + slack) * _UP
