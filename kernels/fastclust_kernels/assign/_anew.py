"""Assignment that leaves bounds behind: every row against every centre, with the bounds that follow from the scores.

A lane of a vector is a part of a group (README.md, Bounds between iterations), and panel i of 16 parts holds the i-th
centre of each. So the best score of a part is found as the best score of a row is in ``_dense``, lane by lane, and
bounds cost one root for 16 of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.assign._bounds import FLOOR, above, below, decide, panels_of
from fastclust_kernels.assign._dense import doubt_of, length_of, move, sizes_of
from fastclust_kernels.assign._scores import clear, keep_best, keep_best_of_two
from fastclust_kernels.assign._settling import settle_parts
from fastclust_kernels.assign._vectors import PANEL, TILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.assign._bounds import Bounds, Groups

__all__ = ["assign_anew"]


def assign_anew(
    X: NDArray[Any],
    centers: NDArray[Any],
    moved: NDArray[Any],
    groups: Groups,
    bounds: Bounds,
    frame: Any,
    labels: NDArray[np.int32],
) -> None:
    """Fill ``labels`` ``[n]`` and ``bounds``; ``moved`` is ``centers`` from the frame's origin."""
    parts = bounds.lower.shape[1] // len(groups.members)
    squares = np.einsum("ij,ij->i", moved, moved, dtype=np.float64)
    half = (0.5 * squares).astype(X.dtype)
    table = _table(groups.members, parts)
    panels, halves = panels_of(table, moved, half)
    reach = float(np.sqrt(squares.max()))
    rows, chunk = sizes_of(X)
    _anew(
        X, centers, *groups, parts, table, panels, halves, *bounds,
        frame.shift, frame.shifted, frame.unit, reach, rows, chunk, labels, numba.get_num_threads(),
    )  # fmt: skip


def _table(members: NDArray[np.int32], parts: int) -> NDArray[np.int32]:
    """The centre in each place ``[panels, 16]`` where a lane is a part, -1 where there is none.

    The panels of 16 parts follow each other, one for each centre that a part has.
    """
    per = PANEL // parts
    filled = np.full((-(-len(members) // per) * per, PANEL), -1, np.int32)
    filled[: len(members)] = members
    # [vector, group of it, place in the part, part] with the place in front of the lane.
    # A view where there is one vector, so that the order in memory has to be asked for.
    return np.ascontiguousarray(filled.reshape(-1, per, per, parts).transpose(0, 2, 1, 3).reshape(-1, PANEL))


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _anew(  # type: ignore[no-untyped-def]
    X, centers, members, group, place, parts, table, panels, halves, squares, upper, lower,
    shift, shifted, unit, reach, rows, chunk, labels, threads,
):  # fmt: skip
    n, d = X.shape
    size = X.itemsize
    p = len(panels)
    per = PANEL // parts
    limits = lower.shape[1]
    tiles = rows // TILE
    blocks = (n + rows - 1) // rows
    largest = np.finfo(X.dtype).max / 8
    tiny = np.float64(np.finfo(X.dtype).tiny)
    all_rows, all_bounds = X.ctypes.data, lower.ctypes.data
    for thread in numba.prange(threads):
        local = np.empty((rows if shifted else 1, d), X.dtype)
        best = np.empty((tiles, TILE, PANEL), X.dtype)
        second = np.empty((tiles, TILE, PANEL), X.dtype)
        where = np.empty((tiles, TILE, PANEL), np.int32)
        address = np.empty((tiles, TILE), np.int64)
        targets = np.empty((tiles, TILE), np.int64)
        base = np.empty((tiles, TILE), X.dtype)
        slack = np.empty((tiles, TILE), X.dtype)
        # Of each row: its best score, the second best of that part and of all, and the best one's part and place.
        top = np.empty((tiles, TILE), X.dtype)
        beside = np.empty((tiles, TILE), X.dtype)
        beaten = np.empty((tiles, TILE), X.dtype)
        home = np.empty((tiles, TILE), np.int64)
        number = np.empty((tiles, TILE), np.int64)
        lanes = np.empty(TILE, np.int32)
        places = np.empty(TILE, np.int32)
        tops = np.empty(TILE, X.dtype)
        nexts = np.empty(TILE, X.dtype)
        others = np.empty(TILE, X.dtype)
        for block in range(thread, blocks, threads):
            start = block * rows
            count = min(rows, n - start)
            used = (count + TILE - 1) // TILE
            origin = local.ctypes.data if shifted else all_rows + start * d * size
            # Places beyond the last row do its work once more.
            for i in range(used * TILE):
                tile, r, mine = i // TILE, i % TILE, min(i, count - 1)
                if i < count:
                    if shifted:
                        move(X[start + i], shift, local[i])
                    squares[start + i] = length_of(local[i]) if shifted else length_of(X[start + i])
                square = squares[start + mine]
                off = np.inf if square + reach * reach > largest else doubt_of(square, reach, d, unit, tiny)
                far = FLOOR + (2.0 * unit * (np.sqrt(square) + reach) if shifted else 0.0)
                address[tile, r] = origin + mine * d * size
                targets[tile, r] = all_bounds + (start + mine) * limits * 4
                base[tile, r] = square - 2.0 * off - 4.0 * unit * square - tiny
                slack[tile, r] = far * (1.0 + 4.0 * unit)
            top[:used] = -np.inf
            beside[:used] = -np.inf
            beaten[:used] = -np.inf
            home[:used] = 0
            number[:used] = 0
            for tile in range(used):
                clear(best[tile], second[tile], where[tile])
            for first in range(0, p, chunk):
                last = min(p, first + chunk)
                for tile in range(used):
                    rows_of_tile, high, low, panel = address[tile], best[tile], second[tile], where[tile]
                    g = first
                    while g < last:
                        if per > 1 and g + 1 < last:
                            two = slice(g, g + 2)
                            keep_best_of_two(rows_of_tile, panels[two], halves[two], d, np.int32(g), high, low, panel)
                            g += 2
                        else:
                            keep_best(rows_of_tile, panels[g], halves[g], d, np.int32(g), high, low, panel)
                            g += 1
                        if g % per:
                            continue
                        at = (g // per - 1) * PANEL
                        settle_parts(
                            high, low, panel, base[tile], slack[tile], targets[tile], at, limits,
                            lanes, places, tops, nexts, others,
                        )  # fmt: skip
                        for r in range(TILE):
                            if tops[r] > top[tile, r]:
                                beaten[tile, r] = max(max(top[tile, r], beaten[tile, r]), max(nexts[r], others[r]))
                                top[tile, r] = tops[r]
                                beside[tile, r] = nexts[r]
                                home[tile, r] = at + lanes[r]
                                number[tile, r] = places[r] * PANEL + lanes[r]
                            else:
                                beaten[tile, r] = max(beaten[tile, r], tops[r])
                        high[:] = -np.inf
                        low[:] = -np.inf
                        panel[:] = 0
            for i in range(count):
                tile, r, row = i // TILE, i % TILE, start + i
                square = squares[row]
                off = np.inf if square + reach * reach > largest else doubt_of(square, reach, d, unit, tiny)
                far = np.float64(slack[tile, r])
                c = table[number[tile, r] // PANEL, number[tile, r] % PANEL]
                labels[row] = c
                # The part of the nearest centre is about the others in it.
                lower[row, home[tile, r]] = below(square, beside[tile, r], off, far)
                upper[row] = above(square, top[tile, r], off, far)
                if not np.float64(top[tile, r]) - np.float64(beaten[tile, r]) > 2.0 * off:
                    decide(X[row], centers, members, group, place, parts, row, c, far, labels, lower, upper)
