"""Rows against the centres of some cells only, keeping 16 candidates a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.assign._dense import move
from fastclust_kernels.assign._exact import squared
from fastclust_kernels.assign._scores import (
    carry,
    keep_best,
    keep_best_of_two,
    keep_top,
    keep_top_of_two,
    pack,
    score_group,
)
from fastclust_kernels.assign._vectors import PANEL, TILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.assign._dense import Frame

__all__ = ["LANES", "Cells", "among", "cells_of", "nearest_cells", "rows_together", "search", "seconds"]

#: Candidates a row.
LANES = PANEL
#: Bytes of rows that are sorted by the cells they look at, together: a part of a usual second-level cache.
_ROWS_BYTES = 512 * 1024
_FEWEST_ROWS, _MOST_ROWS = 128, 2048


class Cells(NamedTuple):
    """Centres, cell by cell."""

    #: The cell of each centre ``[k]``.
    cell: NDArray[np.int32]
    #: Mean of the centres of each cell ``[cells, d]``, and the same as panels with half norms.
    means: NDArray[Any]
    mean_panels: NDArray[Any]
    mean_halves: NDArray[Any]
    #: Panels of all centres ``[p, d, 16]`` and half norms ``[p, 16]``; cell g has those from ``first[g]`` on.
    panels: NDArray[Any]
    halves: NDArray[Any]
    first: NDArray[np.int64]
    #: Number of the centre in each place of the panels ``[p, 16]``, -1 for none.
    members: NDArray[np.int32]
    #: Where the origin of scores lies ``[d]``.
    shift: NDArray[Any]


def cells_of(centers: NDArray[Any], cell: NDArray[np.int32], frame: Frame) -> Cells:
    """Sort centres ``[k, d]`` into panels by their ``cell`` ``[k]``: each cell begins a panel."""
    sizes = np.bincount(cell)
    sums = np.zeros((len(sizes), centers.shape[1]))
    np.add.at(sums, cell, centers.astype(np.float64))
    means = (sums / np.maximum(sizes, 1)[:, None]).astype(centers.dtype)
    first = np.concatenate([[0], np.cumsum(-(-sizes // PANEL))])
    order = np.argsort(cell, kind="stable")
    rank = np.arange(len(cell)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = first[cell[order]] * PANEL + rank
    members = np.full(first[-1] * PANEL, -1, np.int32)
    members[place] = order
    filled = np.zeros((len(members), centers.shape[1]), centers.dtype)
    filled[place] = centers[order] - frame.shift
    halves = np.full(len(members), np.inf, centers.dtype)
    halves[place] = _halves(filled[place])
    panels, _ = pack(filled, halves)
    moved = means - frame.shift
    return Cells(
        cell,
        means,
        *pack(moved, _halves(moved)),
        panels,
        halves.reshape(-1, PANEL),
        first,
        members.reshape(-1, PANEL),
        frame.shift,
    )


def _halves(moved: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # such a centre never wins: rows left without any are assigned exactly
        halves: NDArray[Any] = (0.5 * np.einsum("ij,ij->i", moved, moved, dtype=np.float64)).astype(moved.dtype)
    return halves


def search(
    X: NDArray[Any], cells: Cells, probes: int, lists: NDArray[np.int32], hidden: NDArray[Any] | None = None
) -> None:
    """Fill ``lists`` ``[n, 16]`` with the best centre of each lane in the ``probes`` nearest cells; -1 for none.

    ``hidden`` ``[n]``, if it is given, is filled with the best score of the centres looked at that are not in the list.
    The same bits for any number of threads: blocks of rows do not depend on it.
    """
    scores = np.empty(0, X.dtype) if hidden is None else hidden
    _search(X, *cells[2:], probes, rows_together(X), lists, scores, numba.get_num_threads())


def rows_together(X: NDArray[Any]) -> int:
    """How many rows are sorted together."""
    width = X.shape[1] * X.itemsize
    return int(np.clip(_ROWS_BYTES // width // TILE * TILE, _FEWEST_ROWS, _MOST_ROWS))


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _search(  # type: ignore[no-untyped-def]
    X, mean_panels, mean_halves, panels, halves, first, members, shift, probes, rows, lists, hidden, threads
):
    n, d = X.shape
    cells = len(first) - 1
    blocks = (n + rows - 1) // rows
    for thread in numba.prange(threads):
        local = np.empty((rows, d), X.dtype)
        near = np.empty((rows, probes + 1), np.int32)
        sizes = np.empty(cells + 1, np.int64)
        queue = np.empty(rows * probes, np.int32)
        best = np.empty((rows, PANEL), X.dtype)
        where = np.empty((rows, PANEL), np.int32)
        beaten = np.empty((rows if len(hidden) else 0, PANEL), X.dtype)
        for block in range(thread, blocks, threads):
            start = block * rows
            count = min(rows, n - start)
            for i in range(count):
                move(X[start + i], shift, local[i])
            nearest_cells(local, count, mean_panels, mean_halves, near, local[:0])
            _by_cell(near, count, sizes, queue)
            best[:] = -np.inf
            where[:] = -1
            beaten[:] = -np.inf
            for cell in range(cells):
                mine = queue[sizes[cell] : sizes[cell + 1]]
                _look(local, mine, panels, halves, first[cell], first[cell + 1], best, where, beaten)
            for i in range(count):
                for lane in range(PANEL):
                    panel = where[i, lane]
                    lists[start + i, lane] = members[panel, lane] if panel >= 0 else -1
                if len(hidden):
                    hidden[start + i] = beaten[i].max()


@numba.njit(cache=True)
def nearest_cells(local, count, panels, halves, near, whole):  # type: ignore[no-untyped-def]
    """Numbers of the nearest cells of each row, in their order: the lowest of those alike.

    The scores of all cells are left in ``whole`` ``[rows, cells]``, filled up to panels, where it has rows.
    """
    d = local.shape[1]
    probes = near.shape[1] - 1
    address = np.empty(TILE, np.int64)
    nothing = np.full(TILE, -1, np.int32)
    scores = np.empty((len(panels), TILE, PANEL), local.dtype)
    tops = np.empty((len(panels), TILE), local.dtype)
    mine = np.empty(len(panels) * PANEL, local.dtype)
    width = 1.0
    for tile in range(0, count, TILE):
        used = min(TILE, count - tile)
        for r in range(TILE):
            address[r] = local.ctypes.data + (tile + min(r, used - 1)) * d * local.itemsize
        for p in range(len(panels)):
            score_group(address, panels[p], halves[p], d, nothing, scores[p], tops[p])
        for r in range(used):
            top = -np.inf
            for p in range(len(panels)):
                top = max(top, np.float64(tops[p, r]))
                for lane in range(PANEL):
                    mine[p * PANEL + lane] = scores[p, r, lane]
            width = _largest(mine, probes, top, width, near[tile + r])
            if len(whole):
                for c in range(len(mine)):
                    whole[tile + r, c] = mine[c]


@numba.njit(cache=True)
def _above(values, threshold):  # type: ignore[no-untyped-def]
    count = np.int32(0)
    for value in values:
        count += np.int32(value > threshold)
    return count


@numba.njit(cache=True)
def _largest(values, many, top, width, places):  # type: ignore[no-untyped-def]
    """Where the ``many`` largest values are, in order: ``places`` has room for one more.

    The threshold is found by halving: counting what is above one is a few instructions, where sorting branches.
    ``top`` is the largest value; ``width`` a guess of how far below it the threshold lies. Returns the next guess.
    """
    number = values.dtype.type
    high, low = top, number(top - width)
    above = np.int32(0)
    # More than low: at least as many as are wanted; more than high: fewer, or as many.
    while low > -np.inf and _above(values, low) < many:
        width *= 2.0
        low = number(top - width)
    while True:
        middle = number(0.5 * (low + high))
        if not low < middle < high:
            break
        count = _above(values, middle)
        if count > many:
            low = middle
        else:
            high, above = middle, count
            if count == many:
                break
    place = np.int64(0)
    if above == many:
        for g in range(len(values)):
            places[place] = g
            place += np.int64(values[g] > high)
        return max(1.25 * (top - high), 1e-30)
    alike = np.int64(many - above)
    for g in range(len(values)):
        places[place] = g
        taken = values[g] > high
        if alike and not taken and values[g] > low:
            taken = True
            alike -= 1
        place += np.int64(taken)
    for left in range(place, many):
        # Scores that overflowed have no order.
        places[left] = left
    return 1.0


@numba.njit(cache=True)
def _by_cell(near, count, sizes, queue):  # type: ignore[no-untyped-def]
    """Rows that look at each cell, in order: cell g has ``queue[sizes[g]:sizes[g + 1]]``."""
    sizes[:] = 0
    for i in range(count):
        for cell in near[i, :-1]:
            sizes[cell + 1] += 1
    for cell in range(len(sizes) - 1):
        sizes[cell + 1] += sizes[cell]
    for i in range(count - 1, -1, -1):
        for cell in near[i, :-1]:
            sizes[cell + 1] -= 1
            queue[sizes[cell + 1]] = i
    # Each end has become the beginning: all move up by one.
    for cell in range(len(sizes) - 1):
        sizes[cell] = sizes[cell + 1]
    sizes[-1] = count * (near.shape[1] - 1)


@numba.njit(cache=True)
def _look(local, mine, panels, halves, begin, end, best, where, beaten):  # type: ignore[no-untyped-def]
    """Score some rows against some panels; keep the best of each lane, and what it beat if ``beaten`` has rows."""
    d = local.shape[1]
    address = np.empty(TILE, np.int64)
    top = np.empty((TILE, PANEL), local.dtype)
    second = np.empty((TILE, PANEL), local.dtype)
    number = np.empty((TILE, PANEL), np.int32)
    for tile in range(0, len(mine), TILE):
        used = min(TILE, len(mine) - tile)
        for r in range(TILE):
            i = mine[tile + min(r, used - 1)]
            address[r] = local.ctypes.data + i * d * local.itemsize
            carry(best, i, top, r)
            carry(where, i, number, r)
            if len(beaten):
                carry(beaten, i, second, r)
        for p in range(begin, end - 1, 2):
            two = slice(p, p + 2)
            if len(beaten):
                keep_best_of_two(address, panels[two], halves[two], d, np.int32(p), top, second, number)
            else:
                keep_top_of_two(address, panels[two], halves[two], d, np.int32(p), top, number)
        if (end - begin) % 2:
            if len(beaten):
                keep_best(address, panels[end - 1], halves[end - 1], d, np.int32(end - 1), top, second, number)
            else:
                keep_top(address, panels[end - 1], halves[end - 1], d, np.int32(end - 1), top, number)
        for r in range(used):
            i = mine[tile + r]
            carry(top, r, best, i)
            carry(number, r, where, i)
            if len(beaten):
                carry(second, r, beaten, i)


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def among(X, centers, lists, labels):  # type: ignore[no-untyped-def]
    """Move each label to the nearest of its row's candidates, if that is nearer: the lowest of those alike."""
    for i in numba.prange(len(X)):
        label = labels[i]
        least = squared(X[i], centers[label]) if label >= 0 else np.inf
        for c in lists[i]:
            if c < 0 or c == labels[i]:
                continue
            distance = squared(X[i], centers[c])
            if distance < least or (distance == least and c < label):
                least = distance
                label = c
        labels[i] = label


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def seconds(X, centers, lists, labels, own, second, heirs):  # type: ignore[no-untyped-def]
    """Squared distance to the centre of the label, to the nearest other candidate, and which that is; -1 for none."""
    for i in numba.prange(len(X)):
        own[i] = squared(X[i], centers[labels[i]])
        least, heir = np.inf, np.int32(-1)
        for c in lists[i]:
            if c >= 0 and c != labels[i]:
                distance = squared(X[i], centers[c])
                if distance < least or (distance == least and c < heir):
                    least, heir = distance, c
        second[i], heirs[i] = least, heir
