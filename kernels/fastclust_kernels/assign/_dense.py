"""Assignment without bounds: every row against every centre, tile by tile, certified or decided again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.assign._exact import squared
from fastclust_kernels.assign._scores import clear, keep_best, keep_best_of_two, pack, score_group, settle
from fastclust_kernels.assign._vectors import PANEL, TILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Frame", "Placed", "assign_dense", "frame_of", "place", "sizes_of"]

#: Bytes of rows, and of panels, that are worked on together: each a part of a usual second-level cache.
_ROWS_BYTES = 256 * 1024
_PANEL_BYTES = 256 * 1024
_MOST_ROWS = 128


class Frame(NamedTuple):
    """Where the origin of scores lies, in the dtype of the rows."""

    #: [d]; zeros if the rows are taken as they are.
    shift: NDArray[Any]
    shifted: bool
    #: Unit roundoff of the dtype.
    unit: float


def frame_of(centers: NDArray[Any]) -> Frame:
    """Take rows as they are where that costs few digits, else from the mean of the centres: README.md, Origin."""
    mean = centers.mean(axis=0, dtype=np.float64)
    spread = float(np.var(centers, axis=0, dtype=np.float64).sum())
    shifted = bool(mean @ mean > 4 * spread)
    shift = (mean if shifted else np.zeros_like(mean)).astype(centers.dtype)
    return Frame(shift, shifted, float(np.finfo(centers.dtype).eps) / 2)


class Placed(NamedTuple):
    """Centres as the kernel takes them."""

    centers: NDArray[Any]
    panels: NDArray[Any]
    halves: NDArray[Any]
    #: The largest length of a centre from the origin of scores.
    reach: float
    frame: Frame


def place(centers: NDArray[Any], frame: Frame) -> Placed:
    """Prepare ``centers`` ``[k, d]``."""
    moved = centers - frame.shift if frame.shifted else centers
    squares = np.einsum("ij,ij->i", moved, moved, dtype=np.float64)
    panels, halves = pack(moved, (0.5 * squares).astype(centers.dtype))
    return Placed(centers, panels, halves, float(np.sqrt(squares.max())), frame)


def sizes_of(X: NDArray[Any]) -> tuple[int, int]:
    """Rows, and panels of centres, that are worked on together."""
    width = X.shape[1] * X.itemsize
    rows = min(max(_ROWS_BYTES // width // TILE * TILE, TILE), _MOST_ROWS)
    return rows, max(2, _PANEL_BYTES // (width * PANEL) // 2 * 2)


def assign_dense(X: NDArray[Any], placed: Placed, labels: NDArray[np.int32]) -> None:
    """Fill ``labels`` ``[n]``; the same bits for any number of threads, as blocks never depend on it."""
    rows, chunk = sizes_of(X)
    centers, panels, halves, reach, frame = placed
    how = (X, centers, panels, halves, frame.shift, frame.shifted, frame.unit, reach, rows, chunk, labels)
    if len(X) <= rows:
        _thread(*how, 0, 1)
    else:
        _dense(*how, numba.get_num_threads())


@numba.njit(cache=True)
def move(row, shift, into):  # type: ignore[no-untyped-def]
    """The row from the new origin."""
    for j in range(len(row)):
        into[j] = row[j] - shift[j]


@numba.njit(cache=True, fastmath={"contract", "reassoc"})
def length_of(row):  # type: ignore[no-untyped-def]
    """|x|^2 in float64."""
    total = 0.0
    for j in range(len(row)):
        total += np.float64(row[j]) * np.float64(row[j])
    return total


@numba.njit(cache=True)
def doubt_of(squares, reach, d, unit, tiny):  # type: ignore[no-untyped-def]
    """How far a score of a row of squared length ``squares`` may be off: README.md, Bound; without its root."""
    return unit * ((d + 4.0) * 0.5 * (squares + reach * reach) + reach * reach) + (d + 4.0) * tiny


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _dense(X, centers, panels, halves, shift, shifted, unit, reach, rows, chunk, labels, threads):  # type: ignore[no-untyped-def]
    for thread in numba.prange(threads):
        # Signed, as where it is called by itself: for each type of number it would be compiled once more.
        number = np.int64(thread)
        _thread(X, centers, panels, halves, shift, shifted, unit, reach, rows, chunk, labels, number, threads)


@numba.njit(cache=True, nogil=True)
def _thread(X, centers, panels, halves, shift, shifted, unit, reach, rows, chunk, labels, thread, threads):  # type: ignore[no-untyped-def]
    """Every ``threads``-th block of rows. Called by itself where there is one block: waking threads takes longer."""
    n, d = X.shape
    size = X.itemsize
    p = len(panels)
    tiles = rows // TILE
    blocks = (n + rows - 1) // rows
    largest = np.finfo(X.dtype).max / 8
    tiny = np.float64(np.finfo(X.dtype).tiny)
    local = np.empty((rows if shifted else 1, d), X.dtype)
    best = np.empty((tiles, TILE, PANEL), X.dtype)
    second = np.empty((tiles, TILE, PANEL), X.dtype)
    where = np.empty((tiles, TILE, PANEL), np.int32)
    address = np.empty((tiles, TILE), np.int64)
    found = np.empty(TILE, np.int32)
    tops = np.empty(TILE, X.dtype)
    nexts = np.empty(TILE, X.dtype)
    unsure = np.empty(rows, np.int64)
    margin = np.empty(rows, np.float64)
    squares = np.empty(rows, np.float64)
    for block in range(thread, blocks, threads):
        start = block * rows
        count = min(rows, n - start)
        used = (count + TILE - 1) // TILE
        base = local.ctypes.data if shifted else X.ctypes.data + start * d * size
        # In order, so that the rows are near when the tiles take them eight at a time.
        for i in range(count):
            if shifted:
                move(X[start + i], shift, local[i])
            squares[i] = length_of(local[i]) if shifted else length_of(X[start + i])
        for i in range(used * TILE):
            address[i // TILE, i % TILE] = base + min(i, count - 1) * d * size
        for tile in range(used):
            clear(best[tile], second[tile], where[tile])
        for first in range(0, p, chunk):
            last = min(p, first + chunk)
            for tile in range(used):
                rows_of_tile, top, beaten, number = address[tile], best[tile], second[tile], where[tile]
                for g in range(first, last - 1, 2):
                    two = slice(g, g + 2)
                    keep_best_of_two(rows_of_tile, panels[two], halves[two], d, np.int32(g), top, beaten, number)
                if (last - first) % 2:
                    g = last - 1
                    keep_best(rows_of_tile, panels[g], halves[g], d, np.int32(g), top, beaten, number)
        doubtful = 0
        for tile in range(used):
            settle(best[tile], second[tile], where[tile], found, tops, nexts)
            for r in range(min(TILE, count - tile * TILE)):
                i = tile * TILE + r
                labels[start + i] = found[r]
                doubt = 2.0 * doubt_of(squares[i], reach, d, unit, tiny)
                # README.md: beyond this margin no rounding can have put the wrong centre first. Where products may
                # overflow, nothing is certain.
                overflows = squares[i] + reach * reach > largest
                if overflows or not np.float64(tops[r]) - np.float64(nexts[r]) > doubt:
                    unsure[doubtful] = i
                    margin[doubtful] = -np.inf if overflows else np.float64(tops[r]) - doubt
                    doubtful += 1
        if doubtful:
            hidden = _decide_kept(X, centers, start, unsure[:doubtful], margin, best, second, where, labels)
            if hidden:
                _decide(X, centers, panels, halves, base, start, unsure[:hidden], margin, labels)


@numba.njit(cache=True)
def _decide_kept(X, centers, start, unsure, margin, best, second, where, labels):  # type: ignore[no-untyped-def]
    """Take the nearest centre of each unsure row by differences in float64, where all that may be are among the kept.

    They are if no lane's second best score is above the row's margin. The other rows, and their margins, are left at
    the front of ``unsure`` and ``margin``; how many there are is returned.
    """
    left = 0
    for u in range(len(unsure)):
        i, least = unsure[u], margin[u]
        tile, r = i // TILE, i % TILE
        hidden = False
        for lane in range(PANEL):
            # What is no number hides.
            hidden |= not second[tile, r, lane] < least
        if hidden:
            unsure[left] = i
            margin[left] = least
            left += 1
            continue
        nearest, label = np.inf, len(centers)
        for lane in range(PANEL):
            c = where[tile, r, lane] * PANEL + lane
            if c < len(centers) and not best[tile, r, lane] < least:
                distance = squared(X[start + i], centers[c])
                if distance < nearest or (distance == nearest and c < label):
                    nearest, label = distance, c
        labels[start + i] = label
    return left


@numba.njit(cache=True)
def _decide(X, centers, panels, halves, base, start, unsure, margin, labels):  # type: ignore[no-untyped-def]
    """Among the centres that may be nearest to each unsure row, take the one that is, by differences in float64."""
    d = X.shape[1]
    k = len(centers)
    address = np.empty(TILE, np.int64)
    nothing = np.full(TILE, -1, np.int32)
    scores = np.empty((TILE, PANEL), X.dtype)
    tops = np.empty(TILE, X.dtype)
    nearest = np.empty(TILE, np.float64)
    for first in range(0, len(unsure), TILE):
        count = min(TILE, len(unsure) - first)
        for r in range(TILE):
            address[r] = base + unsure[first + min(r, count - 1)] * d * X.itemsize
        nearest[:] = np.inf
        for g in range(len(panels)):
            score_group(address, panels[g], halves[g], d, nothing, scores, tops)
            for r in range(count):
                i = start + unsure[first + r]
                least = margin[first + r]
                if tops[r] < least:
                    continue
                for lane in range(PANEL):
                    c = g * PANEL + lane
                    if c < k and not scores[r, lane] < least:
                        distance = squared(X[i], centers[c])
                        if distance < nearest[r]:
                            nearest[r] = distance
                            labels[i] = c
