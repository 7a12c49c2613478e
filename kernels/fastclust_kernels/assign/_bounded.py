"""Assignment with bounds: only the groups of centres that may hold a nearer one are scored, row by row.

Yinyang's bounds (Ding et al., "Yinyang K-Means", ICML 2015) on groups of 16 centres, or on parts of them. Rows that
need a group are listed and scored eight at a time wherever they lie, so that a bound that fails costs one tile's share
and no more; the rows that will be looked at next are brought near meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from fastclust_kernels.assign._bounding import score_and_bound, score_and_bound_two
from fastclust_kernels.assign._dense import doubt_of, length_of, move
from fastclust_kernels.assign._exact import squared
from fastclust_kernels.assign._limits import DOWN, fall, lowest, within
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
    #: float32 [n, groups * parts]: no more than the distance to any other centre of the part.
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
    parts = bounds.lower.shape[1] // len(groups.members)
    squares = np.einsum("ij,ij->i", moved, moved, dtype=np.float64)
    half = (0.5 * squares).astype(X.dtype)
    taken = np.maximum(groups.members, 0)
    missing = groups.members < 0
    panels = np.ascontiguousarray(moved[taken].transpose(0, 2, 1))
    halves = np.where(missing, X.dtype.type(np.inf), half[taken])
    drifts = np.where(missing, np.float32(0), drift[taken]).reshape(-1, PANEL // parts, parts).max(axis=1).reshape(-1)
    reach = float(np.sqrt(squares.max()))
    rows = int(np.clip(_ROWS_BYTES // (d * X.itemsize) // TILE * TILE, 64, _MOST_ROWS))
    threads = numba.get_num_threads()
    tiles = np.zeros(threads, np.int64)
    _sweep(
        X, centers, moved, half, drift, *groups, parts, panels, halves, drifts, *bounds,
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


@numba.njit(cache=True, nogil=True)
def _find_open(start, count, first, labels, drift, drifts, upper, lower, active, least):  # type: ignore[no-untyped-def]
    """Let the bounds of ``count`` rows follow the centres; list the rows that they do not settle, without branches."""
    limits = lower.shape[1]
    found = 0
    for i in range(count):
        row = start + i
        if first:
            lower[row] = 0.0
            upper[row] = np.inf
        limit = (upper[row] + drift[labels[row]]) * _UP
        upper[row] = limit
        active[found] = i
        least[found] = fall(lower[row], drifts, limits)
        found += not limit < least[found]
    return found


@numba.njit(parallel=True, cache=True, nogil=True)
def _sweep(  # type: ignore[no-untyped-def]
    X, centers, moved, half, drift, members, group, place, parts, panels, halves, drifts, squares, upper, lower,
    shift, shifted, unit, reach, rows, first, labels, tiles, threads,
):  # fmt: skip
    n, d = X.shape
    width = d * X.itemsize
    count_groups = len(members)
    limits = lower.shape[1]
    blocks = (n + rows - 1) // rows
    largest = np.finfo(X.dtype).max / 8
    tiny = np.float64(np.finfo(X.dtype).tiny)
    # Addresses once: Numba counts references whenever it is asked for one.
    all_rows, all_bounds = X.ctypes.data, lower.ctypes.data
    for thread in numba.prange(threads):
        local = np.empty((rows if shifted else 1, d), X.dtype)
        local_rows = local.ctypes.data
        # Two of each: those of the block at work and of the one to come.
        active = np.empty((2, rows), np.int64)
        least = np.empty((2, rows), np.float32)
        opened = np.zeros(2, np.int64)
        which = np.empty(rows, np.int64)
        best = np.empty(rows, X.dtype)
        rest = np.empty(rows, X.dtype)
        beaten = np.empty(rows, X.dtype)
        own = np.empty(rows, X.dtype)
        base = np.empty(rows, X.dtype)
        slack = np.empty(rows, X.dtype)
        doubt = np.empty(rows, np.float64)
        label = np.empty(rows, np.int32)
        wanted = np.empty((count_groups, rows), np.int32)
        length = np.empty(count_groups, np.int64)
        address = np.empty(TILE, np.int64)
        ahead = np.empty(TILE, np.int64)
        targets = np.empty((2, TILE), np.int64)
        bases = np.empty(TILE, X.dtype)
        slacks = np.empty(TILE, X.dtype)
        skip = np.empty((2, TILE), np.int32)
        scores = np.empty((2, TILE, PANEL), X.dtype)
        tops = np.empty((2, TILE), X.dtype)
        done = 0
        now = 0
        if thread < blocks:
            count = min(rows, n - thread * rows)
            opened[0] = _find_open(
                thread * rows, count, first, labels, drift, drifts, upper, lower, active[0], least[0]
            )  # fmt: skip
        for block in range(thread, blocks, threads):
            start = block * rows
            count = min(rows, n - start)
            origin = local_rows if shifted else all_rows + start * width
            length[:] = 0
            working = 0
            for o in range(opened[now]):
                i = active[now, o]
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
                off = np.inf if overflows else doubt_of(squares[row], reach, d, unit, tiny)
                far = _FLOOR + (2.0 * unit * (np.sqrt(squares[row]) + reach) if shifted else 0.0)
                which[working] = i
                label[working] = c
                own[working] = score
                best[working] = score
                beaten[working] = -np.inf
                doubt[working] = off
                base[working] = squares[row] - 2.0 * off - 4.0 * unit * squares[row] - tiny
                slack[working] = far * (1.0 + 4.0 * unit)
                limit = min(upper[row], _above(squares[row], score, off, far))
                upper[row] = limit
                working += not limit < least[now, o]
            for a in range(working):
                row = start + which[a]
                for some in range(0, limits, PANEL):
                    bits = within(lower[row], some, limits, upper[row])
                    if parts == PANEL:
                        bits = np.int64(bits != 0)
                    elif parts > 1:
                        bits |= bits >> 1
                        bits |= bits >> 2
                        bits &= 0x1111
                    while bits:
                        g = (some + lowest(bits)) // parts
                        wanted[g, length[g]] = a
                        length[g] += 1
                        bits &= bits - 1
            many_tiles = 0
            for g in range(count_groups):
                many_tiles += (length[g] + TILE - 1) // TILE
            done += many_tiles
            # The next block's open rows are brought near while this one's are at work, some with each tile.
            following = start + threads * rows
            opened[1 - now] = 0
            if following < n:
                opened[1 - now] = _find_open(
                    following, min(rows, n - following), first, labels, drift, drifts, upper, lower,
                    active[1 - now], least[1 - now],
                )  # fmt: skip
            left = opened[1 - now]
            a_time = min(TILE, (left + many_tiles - 1) // max(1, many_tiles))
            g = 0
            while g < count_groups:
                many = length[g]
                # The first time every row needs every group, so that two of them share the rows' columns.
                side = 2 if first and g + 1 < count_groups else 1
                for t in range(0, many, TILE):
                    used = min(TILE, many - t)
                    for r in range(TILE):
                        a = wanted[g, t + min(r, used - 1)]
                        i = which[a]
                        address[r] = origin + i * width
                        ahead[r] = address[r]
                        mine = label[a]
                        bases[r] = base[a]
                        slacks[r] = slack[a]
                        for s in range(side):
                            skip[s, r] = place[mine] if group[mine] == g + s else -1
                            targets[s, r] = all_bounds + ((start + i) * limits + (g + s) * parts) * 4
                    for r in range(min(a_time, left)):
                        left -= 1
                        ahead[r] = all_rows + (following + active[1 - now, left]) * width
                    if side == 2:
                        score_and_bound_two(
                            address, panels[g : g + 2], halves[g : g + 2], d, skip, ahead, bases, slacks, targets,
                            parts, scores, tops,
                        )  # fmt: skip
                    else:
                        score_and_bound(
                            address, panels[g], halves[g], d, skip, ahead, bases, slacks, targets, parts, scores, tops
                        )  # fmt: skip
                    for s in range(side):
                        for r in range(used):
                            a = wanted[g, t + r]
                            top = tops[s, r]
                            if not top > best[a]:
                                beaten[a] = max(beaten[a], top)
                                continue
                            winner, anywhere, beside = _winner(scores[s, r], top, parts)
                            beaten[a] = max(max(beaten[a], best[a]), anywhere)
                            best[a] = top
                            rest[a] = beside
                            labels[start + which[a]] = members[g + s, winner]
                g += side
            for a in range(working):
                row = start + which[a]
                if np.float64(best[a]) - np.float64(beaten[a]) > 2.0 * doubt[a]:
                    c = labels[row]
                    old = label[a]
                    if c != old:
                        # The winner's part no longer counts the winner; the old centre's part counts that again.
                        far = np.float64(slack[a])
                        lower[row, _home(group, place, parts, c)] = _below(squares[row], rest[a], doubt[a], far)
                        home = _home(group, place, parts, old)
                        lower[row, home] = min(lower[row, home], _below(squares[row], own[a], doubt[a], far))
                        upper[row] = _above(squares[row], best[a], doubt[a], far)
                else:
                    far = np.float64(slack[a])
                    _decide(X[row], centers, members, group, place, parts, row, label[a], far, labels, lower, upper)
            now = 1 - now
        tiles[thread] = done


@numba.njit(cache=True)
def _winner(scores, top, parts):  # type: ignore[no-untyped-def]
    """A lane with the best score, the best of all others, and the best of the others in its part."""
    # The lowest number wins ties, which are decided later; here any of them will do.
    winner = 0
    for lane in range(PANEL):
        if scores[lane] == top:
            winner = lane
    anywhere, beside = scores.dtype.type(-np.inf), scores.dtype.type(-np.inf)
    for lane in range(PANEL):
        if lane != winner:
            anywhere = max(anywhere, scores[lane])
            if not (lane ^ winner) & (parts - 1):
                beside = max(beside, scores[lane])
    return winner, anywhere, beside


@numba.njit(cache=True)
def _home(group, place, parts, c):  # type: ignore[no-untyped-def]
    """The bound that counts centre ``c``."""
    return group[c] * parts + (place[c] & (parts - 1))


@numba.njit(cache=True)
def _decide(x, centers, members, group, place, parts, row, old, slack, labels, lower, upper):  # type: ignore[no-untyped-def]
    """Differences in float64 for the parts that may hold the nearest centre, and bounds that follow from them."""
    c = labels[row]
    nearest = squared(x, centers[c])
    before = squared(x, centers[old])
    if before < nearest or (before == nearest and old < c):
        c, nearest = old, before
    limit = np.float32(np.sqrt(nearest) + slack) * _UP
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
                home = _home(group, place, parts, c)
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
        home = _home(group, place, parts, old)
        lower[row, home] = min(lower[row, home], known)
    labels[row] = c
    upper[row] = np.float32(np.sqrt(nearest) + slack) * _UP
