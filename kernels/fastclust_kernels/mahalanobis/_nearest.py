"""The nearest of m, or the k nearest, fused behind the products: never an ``[n, m]`` array.

Scores find candidates; what is near enough to the k-th best for rounding to matter is kept, and decided by distances in
float64. README.md has the bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._borrowed import borrowed
from fastclust_kernels._loops import only_loops
from fastclust_kernels.arrays import writable
from fastclust_kernels.assign._limits import lowest
from fastclust_kernels.mahalanobis import bounds
from fastclust_kernels.mahalanobis._exact import difference, whitened
from fastclust_kernels.mahalanobis._first import first_scores, kth_of_bins, sets_for
from fastclust_kernels.mahalanobis._pairs import limits_of, slab_of
from fastclust_kernels.mahalanobis._tiles import CHUNK, TILE, above, address_tile, at_least
from fastclust_kernels.mahalanobis._whiten import map_of, panels_of, whiten

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["nearest"]

_ROWS_BYTES = 1 << 17
_PANEL_BYTES = 1 << 19
_MOST_ROWS = 64
#: Panels that a row is scored against before any candidate is kept: 64 KB of scores a tile.
_OPENING = 64


def nearest(
    X: NDArray[Any], Y: NDArray[Any], factor: NDArray[np.float64], k: int, *, others_only: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Squared distances, float64 ``[n, k]`` and sorted, and numbers of rows of ``Y``; on a tie the lowest number.

    With ``others_only``, row i of ``X`` is row i of ``Y`` and is no neighbour of itself.
    """
    by = map_of(factor, Y.mean(axis=0, dtype=np.float64))
    d, rank = by.factor.shape
    step = slab_of(rank)
    right = whiten(Y, by)
    panels = panels_of(right, rank)
    with np.errstate(over="ignore"):
        halves = np.full(panels.shape[0] * panels.shape[2], np.inf, X.dtype)
        halves[: len(Y)] = right.norms / 2
    distances, indices = np.full((len(X), k), np.nan), np.full((len(X), k), -1, np.int64)
    bytes_wide = rank * panels.itemsize
    rows = int(np.clip(_ROWS_BYTES // bytes_wide // TILE * TILE, TILE, _MOST_ROWS))
    for start in range(0, len(X), step):
        part = X[start : start + step]
        left = right if Y is X and len(X) <= step else whiten(part, by)
        lost = limits_of(by, (left, right), X.dtype)
        _nearest(
            *(writable(part), writable(Y), by.factor, left.exact, right.exact, left.rounded, panels),
            *(halves.reshape(len(panels), -1), left.norms, float(np.sqrt(right.norms.max()))),
            *(bounds.rigorous(d) * left.spreads, bounds.rigorous(d) * float(right.spreads.max()), lost[0], lost[1]),
            *(start if others_only else -len(X) - len(Y), float(np.finfo(X.dtype).eps) / 2),
            *(bounds.repair_below(X.dtype, rank), rows),
            *(max(1, _PANEL_BYTES // (rank * 128)), 4 * k + 64, sets_for(k + others_only, panels.shape[2])),
            *(distances[start : start + step], indices[start : start + step], numba.get_num_threads()),
        )
    return distances, indices


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _nearest(  # type: ignore[no-untyped-def]
    X, Y, factor, left, right, rounded, panels, halves, norms, reach, drift, farthest, lost, other_lost,
    own, unit, share, rows, chunk, capacity, sets, distances, indices, threads,
):  # fmt: skip
    blocks = (len(X) + rows - 1) // rows
    for thread in numba.prange(threads):
        _thread(
            X, Y, factor, left, right, rounded, panels, halves, norms, reach, drift, farthest, lost, other_lost,
            own, unit, share, rows, chunk, capacity, sets, distances, indices, np.int64(thread), threads, blocks,
        )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _thread(  # type: ignore[no-untyped-def]
    X, Y, factor, left, right, rounded, panels, halves, norms, reach, drift, farthest, lost, other_lost,
    own, unit, share, rows, chunk, capacity, sets, distances, indices, thread, threads, blocks,
):  # fmt: skip
    """Every ``threads``-th block of rows. In a function of its own, which compiles faster than a parallel loop."""
    k = distances.shape[1]
    p, rank, lanes = panels.shape
    kind = rounded.dtype
    opening = min(p, chunk, _OPENING) if sets else 0
    address, hits, counts = np.empty(TILE, np.int64), np.empty(TILE, np.int64), np.empty(rows, np.int64)
    scores, floors, doubt = np.empty((TILE, lanes), kind), np.empty(rows, kind), np.empty(rows, np.float64)
    opened, bests = np.empty((opening, TILE, lanes), kind), np.empty((sets, TILE, lanes), kind)
    # The k best scores of each row as a heap, its least in front.
    tops = np.empty((rows, k), np.float64)
    held, numbers = np.empty((rows, capacity), np.float64), np.empty((rows, capacity), np.int64)
    room, values = np.empty(rank, np.float64), np.empty(capacity, np.float64)
    _blocks(
        X, Y, factor, left, right, borrowed(rounded), borrowed(panels), borrowed(halves), borrowed(norms), reach,
        borrowed(drift), farthest, lost, other_lost, own, unit, share, rows, chunk,
        borrowed(distances), borrowed(indices), thread, threads, blocks,
        borrowed(address), borrowed(hits), borrowed(counts), borrowed(scores), borrowed(floors), borrowed(doubt),
        borrowed(opened), borrowed(bests), borrowed(tops), borrowed(held), borrowed(numbers), room, values,
    )  # fmt: skip
    # What is lent lives as long as its owner is used: until here.
    return address, hits, counts, scores, floors, doubt, opened, bests, tops, held, numbers, room, values


@numba.njit(cache=True, nogil=True)
def _blocks(  # type: ignore[no-untyped-def]
    X, Y, factor, left, right, rounded, panels, halves, norms, reach, drift, farthest, lost, other_lost,
    own, unit, share, rows, chunk, distances, indices, thread, threads, blocks,
    address, hits, counts, scores, floors, doubt, opened, bests, tops, held, numbers, room, values,
):  # fmt: skip
    n, k = len(X), distances.shape[1]
    p, rank, lanes = panels.shape
    opening, sets = len(opened), len(bests)
    bins, first_of = bests.reshape(-1, lanes), opened.reshape(-1, lanes)
    # The row itself is among the scores where it is no neighbour of itself.
    among = k + (own >= 0)
    for block in range(thread, blocks, threads):
        start = block * rows
        count = min(rows, n - start)
        counts[:] = 0
        tops[:] = -np.inf
        _doubts(norms[start : start + count], drift[start : start + count], reach, farthest, rank, unit, doubt, floors)
        for first in range(0, p, chunk):
            for tile in range(0, count, TILE):
                there = min(TILE, count - tile)
                address_tile(address, rounded.ctypes.data, rounded.strides[0], start + tile, start + tile + there)
                fresh = opening if first == 0 else 0
                if fresh:
                    first_scores(address, panels[:fresh], halves, rank, sets, opened, bests)
                    for r in range(there):
                        i = tile + r
                        if doubt[i] == np.inf:
                            continue
                        floors[i] = kth_of_bins(bins, r, among) - doubt[i]
                        for g in range(fresh):
                            # Few panels have any: a call has a hundred arguments, parts of arrays among them.
                            bits = at_least(first_of, g * TILE + r, floors[i])
                            if bits:
                                _take(
                                    bits, opened[g, r], g * lanes, X, Y, factor, left, right,
                                    lost, other_lost, start + i, own, doubt[i], tops[i], held[i], numbers[i], counts,
                                    floors, i, drift[start + i] + farthest, room, values,
                                )  # fmt: skip
                for g in range(first + fresh, min(p, first + chunk)):
                    if not above(address, panels[g], halves[g], rank, floors[tile : tile + TILE], scores, hits):
                        continue
                    for r in range(there):
                        i = tile + r
                        if hits[r] and doubt[i] < np.inf:
                            _take(
                                hits[r], scores[r], g * lanes, X, Y, factor, left, right,
                                lost, other_lost, start + i, own, doubt[i], tops[i], held[i], numbers[i], counts,
                                floors, i, drift[start + i] + farthest, room, values,
                            )  # fmt: skip
        for i in range(count):
            if doubt[i] == np.inf:
                _all(X, Y, factor, start + i, own + start + i, room, distances[start + i], indices[start + i])
                continue
            kept = _prune(held[i], numbers[i], counts[i], floors[i])
            if not _told(held[i], numbers[i], kept, k, doubt[i], norms[start + i], halves, share, lost, other_lost,
                         start + i, values):  # fmt: skip
                _rank(
                    X, Y, factor, left, right, lost, other_lost, start + i,
                    held[i], numbers[i], kept, drift[start + i] + farthest, room, values,
                )  # fmt: skip
            for c in range(k):
                distances[start + i, c] = values[c]
                indices[start + i, c] = numbers[i, c]


@numba.njit(cache=True, nogil=True)
def _take(  # type: ignore[no-untyped-def]
    bits, scores, column, X, Y, factor, left, right, lost, other_lost, row, own, doubt, top, held, numbers, counts,
    floors, i, drift, room, values,
):  # fmt: skip
    """Keep the columns of ``bits`` among the candidates of a row, and make room whenever they are too many."""
    while bits:
        bits = _keep(bits, scores, column, len(Y), own + row, doubt, top, held, numbers, counts, floors, i)
        if counts[i] == len(held):
            _thin(
                X, Y, factor, left, right, lost, other_lost, row, held, numbers, counts, floors, i, len(top),
                drift, room, values,
            )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _keep(  # type: ignore[no-untyped-def]
    bits, scores, column, m, own, doubt, top, held, numbers, counts, floors, i
):  # fmt: skip
    """Keep the columns of ``bits`` that are not below the row's floor, which rises; return the bits left when full."""
    while bits:
        lane = lowest(bits)
        bits &= bits - 1
        j = column + lane
        if scores[lane] < floors[i] or j >= m or j == own:
            continue
        score = np.float64(scores[lane])
        held[counts[i]] = score
        numbers[counts[i]] = j
        counts[i] += 1
        if score > top[0]:
            _replace(top, score)
            floors[i] = max(floors[i], top[0] - doubt)
        if counts[i] == len(held):
            break
    return bits


@numba.njit(cache=True, nogil=True)
def _thin(  # type: ignore[no-untyped-def]
    X, Y, factor, left, right, lost, other_lost, row, held, numbers, counts, floors, i, k, drift, room, values
):  # fmt: skip
    """Make room among the candidates of a row."""
    counts[i] = _prune(held, numbers, counts[i], floors[i])
    if counts[i] > len(held) // 2:
        # So many are alike that scores cannot tell: the k nearest are kept.
        _rank(X, Y, factor, left, right, lost, other_lost, row, held, numbers, counts[i], drift, room, values)
        counts[i] = k


@numba.njit(cache=True, nogil=True)
def _doubts(norms, drift, reach, farthest, rank, unit, doubt, floors):  # type: ignore[no-untyped-def]
    """By how much two scores of a row may be in the wrong order: README.md, Nearest."""
    largest = np.finfo(floors.dtype).max / 8
    tiny = np.float64(np.finfo(floors.dtype).tiny)
    terms = min(rank, CHUNK) + (rank + CHUNK - 1) // CHUNK + 4.0
    floors[:] = -np.inf
    for i in range(len(norms)):
        half = 0.5 * (norms[i] + reach * reach)
        rounding = unit * (terms * half + 1.5 * reach * reach) + (rank + 4.0) * tiny
        doubt[i] = 2.0 * (rounding + np.sqrt(norms[i]) * farthest + reach * (drift[i] + farthest))
        if not half < largest:
            # Products may overflow: scores say nothing, and every row is compared.
            doubt[i] = np.inf
            floors[i] = np.inf


@numba.njit(cache=True, nogil=True)
def _replace(heap, value):  # type: ignore[no-untyped-def]
    """Put ``value`` in place of the least."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= len(heap):
            break
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = value


@numba.njit(cache=True, nogil=True)
def _prune(held, numbers, count, floor):  # type: ignore[no-untyped-def]
    """Drop what cannot be among the k nearest. Returns how many stay, in their order."""
    kept = 0
    for c in range(count):
        if held[c] >= floor:
            held[kept] = held[c]
            numbers[kept] = numbers[c]
            kept += 1
    return kept


@numba.njit(cache=True, nogil=True)
def _told(held, numbers, count, k, doubt, norm, halves, share, lost, other_lost, row, values):  # type: ignore[no-untyped-def]
    """Sort candidates by score and take distances from scores, if nothing of that is in doubt; else return False."""
    lanes = halves.shape[1]
    for c in range(count):
        values[c] = norm - 2.0 * held[c]
    _sort(values, held, numbers, count)
    for c in range(k):
        j = numbers[c]
        size = norm + 2.0 * np.float64(halves[j // lanes, j % lanes])
        if not values[c] > share * size + lost[row] + other_lost[j]:
            return False
        if c + 1 < count and not values[c + 1] - values[c] > 2.0 * doubt:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _rank(  # type: ignore[no-untyped-def]
    X, Y, factor, left, right, lost, other_lost, row, held, numbers, count, drift, room, values
):  # fmt: skip
    """Sort candidates by distance, then number: from whitened rows, and where that cannot tell, from the originals."""
    for c in range(count):
        j = numbers[c]
        total = whitened(left[row], right[j])
        values[c] = total if total > lost[row] + other_lost[j] else difference(X[row], Y[j], factor, room)
    _sort(values, held, numbers, count)
    loss = len(left[row]) * 2.3e-16
    first = 0
    for c in range(1, count + 1):
        # Neighbours in the order that are nearer to each other than whitening can tell make a run.
        if c < count:
            one, other = np.sqrt(values[c - 1]), np.sqrt(values[c])
            if other - one <= 2.0 * drift + loss * other:
                continue
        if c - first > 1:
            for e in range(first, c):
                values[e] = difference(X[row], Y[numbers[e]], factor, room)
            _sort(values[first:c], held[first:c], numbers[first:c], c - first)
        first = c


@numba.njit(cache=True, nogil=True)
def _sort(values, held, numbers, count):  # type: ignore[no-untyped-def]
    """By value, then number: Shell's sort, quick for what is nearly in order."""
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap:
        for c in range(gap, count):
            value, score, number = values[c], held[c], numbers[c]
            e = c
            while e >= gap and (values[e - gap] > value or (values[e - gap] == value and numbers[e - gap] > number)):
                values[e], held[e], numbers[e] = values[e - gap], held[e - gap], numbers[e - gap]
                e -= gap
            values[e], held[e], numbers[e] = value, score, number
        gap //= 3


@numba.njit(cache=True, nogil=True)
def _all(X, Y, factor, row, own, room, distances, indices):  # type: ignore[no-untyped-def]
    """The k nearest of all, by differences."""
    k = len(distances)
    kept = 0
    for j in range(len(Y)):
        if j == own:
            continue
        total = difference(X[row], Y[j], factor, room)
        if kept == k and not total < distances[k - 1]:
            continue
        place = min(kept, k - 1)
        kept = min(kept + 1, k)
        while place > 0 and distances[place - 1] > total:
            distances[place], indices[place] = distances[place - 1], indices[place - 1]
            place -= 1
        distances[place], indices[place] = total, j
