"""Assignment with bounds: only the groups of centres that may hold a nearer one are scored, row by row.

Yinyang's bounds (Ding et al., "Yinyang K-Means", ICML 2015) on groups of 16 centres, or on parts of them. Rows that
need a group are listed and scored eight at a time wherever they lie, so that a bound that fails costs one tile's share
and no more; the rows that will be looked at next are brought near meanwhile. The centre of each part that moved most,
or a few of them, can be scored for every row that is looked at, so that the bounds fall by what the others moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.assign._bounding import score_and_bound, tighten, tighten_by_two
from fastclust_kernels.assign._bounds import FLOOR, UP, above, below, decide, home_of, panels_of
from fastclust_kernels.assign._dense import doubt_of, move
from fastclust_kernels.assign._limits import fall, least_after, lowest, within
from fastclust_kernels.assign._vectors import PANEL, TILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.assign._bounds import Bounds, Groups

__all__ = ["Movers", "movers_of", "sweep"]

#: Bytes of rows that are worked on together, and their number.
_ROWS_BYTES = 768 * 1024
_MOST_ROWS = 512


class Movers(NamedTuple):
    """The centres of each part, those that moved most first."""

    #: int32 [places of a part, parts of all groups]; -1 where a part has fewer.
    centers: NDArray[np.int32]
    #: float32 of that shape, and a row of zeros: how far they went.
    drifts: NDArray[np.float32]


def movers_of(groups: Groups, parts: int, drift: NDArray[np.float32]) -> Movers:
    """Order the centres of each part by ``drift`` ``[k]``."""
    # [groups, places, parts] with the places in front.
    members = groups.members.reshape(len(groups.members), -1, parts).transpose(1, 0, 2).reshape(PANEL // parts, -1)
    far = np.where(members < 0, np.float32(-1), drift[np.maximum(members, 0)])
    order = np.argsort(-far, axis=0, kind="stable")
    drifts = np.maximum(np.take_along_axis(far, order, 0), 0)
    return Movers(np.take_along_axis(members, order, 0), np.vstack([drifts, np.zeros_like(drifts[:1])]))


def sweep(
    X: NDArray[Any],
    centers: NDArray[Any],
    moved: NDArray[Any],
    drift: NDArray[np.float32],
    movers: Movers,
    apart: int,
    groups: Groups,
    bounds: Bounds,
    frame: Any,
    labels: NDArray[np.int32],
) -> int:
    """Update ``labels`` and ``bounds`` for centres that moved by ``drift`` ``[k]``; return how many tiles were scored.

    ``moved`` is ``centers`` from the frame's origin. ``apart`` (0, 1, or even) centres of each part are scored for
    every row that is looked at.
    """
    d = X.shape[1]
    limits = bounds.lower.shape[1]
    parts = limits // len(groups.members)
    squares = np.einsum("ij,ij->i", moved, moved, dtype=np.float64)
    half = (0.5 * squares).astype(X.dtype)
    panels, halves = panels_of(groups.members, moved, half)
    # [vectors of 16 parts, apart, 16]
    chosen = np.full((-(-limits // PANEL) * PANEL, apart), -1, np.int32)
    chosen[:limits] = movers.centers[:apart].T
    chosen = np.ascontiguousarray(chosen.reshape(len(chosen) // PANEL, PANEL, apart).transpose(0, 2, 1))
    rank = np.full(len(centers), -1, np.int32)
    for number, mine in enumerate(movers.centers[:apart]):
        rank[mine[mine >= 0]] = number
    busy = np.ones((len(chosen), apart), np.bool_)
    if apart:
        gone = np.zeros((apart, len(chosen) * PANEL), np.float32)
        gone[:, :limits] = movers.drifts[:apart]
        busy = np.ascontiguousarray(gone.reshape(apart, len(chosen), PANEL).max(axis=2).T > 0)
    quick, quick_halves = panels_of(chosen.reshape(-1, PANEL), moved, half)
    reach = float(np.sqrt(squares.max()))
    rows = int(np.clip(_ROWS_BYTES // (d * X.itemsize) // TILE * TILE, 64, _MOST_ROWS))
    threads = numba.get_num_threads()
    tiles = np.zeros(threads, np.int64)
    _sweep(
        X, centers, moved, half, drift, *groups, parts, panels, halves, movers.drifts[0], movers.drifts[apart],
        apart, quick, quick_halves, busy, rank, *bounds,
        frame.shift, frame.shifted, frame.unit, reach, rows, labels, tiles, threads,
    )  # fmt: skip
    return int(tiles.sum())


@numba.njit(cache=True, fastmath={"contract", "reassoc"})
def _product(x, c):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for j in range(len(x)):
        total += x[j] * c[j]
    return total


@numba.njit(cache=True, nogil=True)
def _find_open(start, count, labels, drift, drifts, kept, upper, lower, active, least):  # type: ignore[no-untyped-def]
    """Let the upper bounds of ``count`` rows follow the centres; list the rows that all bounds do not settle.

    Without branches, unless lower bounds of listed rows are to be ``kept`` as they are.
    """
    limits = lower.shape[1]
    found = 0
    for i in range(count):
        row = start + i
        limit = (upper[row] + drift[labels[row]]) * UP
        upper[row] = limit
        active[found] = i
        least[found] = least_after(lower[row], drifts, limits) if kept else fall(lower[row], drifts, limits)
        if kept and limit < least[found]:
            fall(lower[row], drifts, limits)
        found += not limit < least[found]
    return found


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _sweep(  # type: ignore[no-untyped-def]
    X, centers, moved, half, drift, members, group, place, parts, panels, halves, drifts, slow,
    apart, quick, quick_halves, busy, rank, squares, upper, lower,
    shift, shifted, unit, reach, rows, labels, tiles, threads,
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
        targets = np.empty(TILE, np.int64)
        bases = np.empty(TILE, X.dtype)
        slacks = np.empty(TILE, X.dtype)
        skip = np.empty(TILE, np.int32)
        scores = np.empty((TILE, PANEL), X.dtype)
        tops = np.empty(TILE, X.dtype)
        done = 0
        now = 0
        if thread < blocks:
            count = min(rows, n - thread * rows)
            opened[0] = _find_open(
                thread * rows, count, labels, drift, drifts, apart > 0, upper, lower, active[0], least[0]
            )  # fmt: skip
        for block in range(thread, blocks, threads):
            start = block * rows
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
                score = _product(here, moved[c]) - half[c]
                # Where products may overflow, nothing is certain.
                overflows = squares[row] + reach * reach > largest
                off = np.inf if overflows else doubt_of(squares[row], reach, d, unit, tiny)
                far = FLOOR + (2.0 * unit * (np.sqrt(squares[row]) + reach) if shifted else 0.0)
                which[working] = i
                label[working] = c
                own[working] = score
                best[working] = score
                beaten[working] = -np.inf
                doubt[working] = off
                base[working] = squares[row] - 2.0 * off - 4.0 * unit * squares[row] - tiny
                slack[working] = far * (1.0 + 4.0 * unit)
                limit = min(upper[row], above(squares[row], score, off, far))
                upper[row] = limit
                settled = limit < least[now, o]
                if apart > 0:
                    fall(lower[row], drifts if settled else slow, limits)
                working += not settled
            if apart > 0:
                done += _tighten(
                    which[:working], label, group, place, parts, rank, apart, quick, quick_halves, busy, origin, width,
                    all_bounds + start * limits * 4, limits, d, base, slack,
                    address, bases, slacks, targets,
                )  # fmt: skip
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
                    following, min(rows, n - following), labels, drift, drifts, apart > 0, upper, lower,
                    active[1 - now], least[1 - now],
                )  # fmt: skip
            left = opened[1 - now]
            a_time = min(TILE, (left + many_tiles - 1) // max(1, many_tiles))
            for g in range(count_groups):
                many = length[g]
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
                        skip[r] = place[mine] if group[mine] == g else -1
                        targets[r] = all_bounds + ((start + i) * limits + g * parts) * 4
                    for r in range(min(a_time, left)):
                        left -= 1
                        ahead[r] = all_rows + (following + active[1 - now, left]) * width
                    score_and_bound(
                        address, panels[g], halves[g], d, skip, ahead, bases, slacks, targets, parts, scores, tops
                    )  # fmt: skip
                    for r in range(used):
                        a = wanted[g, t + r]
                        top = tops[r]
                        if not top > best[a]:
                            beaten[a] = max(beaten[a], top)
                            continue
                        winner, anywhere, beside = _winner(scores[r], top, parts)
                        beaten[a] = max(max(beaten[a], best[a]), anywhere)
                        best[a] = top
                        rest[a] = beside
                        labels[start + which[a]] = members[g, winner]
            for a in range(working):
                row = start + which[a]
                if np.float64(best[a]) - np.float64(beaten[a]) > 2.0 * doubt[a]:
                    c = labels[row]
                    old = label[a]
                    if c != old:
                        # The winner's part no longer counts the winner; the old centre's part counts that again.
                        far = np.float64(slack[a])
                        lower[row, home_of(group, place, parts, c)] = below(squares[row], rest[a], doubt[a], far)
                        home = home_of(group, place, parts, old)
                        lower[row, home] = min(lower[row, home], below(squares[row], own[a], doubt[a], far))
                        upper[row] = above(squares[row], best[a], doubt[a], far)
                else:
                    far = np.float64(slack[a])
                    decide(X[row], centers, members, group, place, parts, row, label[a], far, labels, lower, upper)
            now = 1 - now
        tiles[thread] = done


@numba.njit(cache=True)
def _tighten(  # type: ignore[no-untyped-def]
    which, label, group, place, parts, rank, apart, quick, quick_halves, busy, origin, width, bounds, limits, d,
    base, slack, address, bases, slacks, targets,
):  # fmt: skip
    """Bounds of the rows in ``which`` by the centres that moved most; how many tiles that took."""
    skip = np.empty((2, TILE), np.int32)
    done = 0
    for t in range(0, len(which), TILE):
        for r in range(TILE):
            a = t + min(r, len(which) - 1 - t)
            address[r] = origin + which[a] * width
            targets[r] = bounds + which[a] * limits * 4
            bases[r] = base[a]
            slacks[r] = slack[a]
        for v in range(len(busy)):
            for number in range(0, apart, 2):
                side = 2 if number + 1 < apart and busy[v, number + 1] else 1
                if not busy[v, number]:
                    continue
                for r in range(TILE):
                    c = label[t + min(r, len(which) - 1 - t)]
                    home = home_of(group, place, parts, c)
                    for s in range(side):
                        mine = rank[c] == number + s and home // PANEL == v
                        skip[s, r] = home % PANEL if mine else -1
                p = v * apart + number
                if side == 2:
                    tighten_by_two(
                        address, quick[p : p + 2], quick_halves[p : p + 2], d, skip, bases, slacks, targets,
                        v * PANEL, limits,
                    )  # fmt: skip
                else:
                    tighten(
                        address, quick[p : p + 1], quick_halves[p : p + 1], d, skip, bases, slacks, targets,
                        v * PANEL, limits,
                    )  # fmt: skip
                done += side
    return done


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
