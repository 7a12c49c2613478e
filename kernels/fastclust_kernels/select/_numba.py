"""Selection on the CPU: a comparison of 32 scores with a floor lets nearly all of them go.

A row that has nothing yet gets its floor from its first block: columns are dealt out to at least 2 ``keep`` bins, and
the ``keep``-th best of the bins' best scores is no better than the ``keep``-th best of all. What is not below the floor
is kept in a list of more than ``keep`` places; when it is full, the ``keep`` largest stay (of equal ones those of the
lowest numbers), and the least of them is the floor.
"""

from __future__ import annotations

import numba
import numpy as np

from fastclust_kernels.assign._limits import lowest
from fastclust_kernels.select._lanes import LANES, at_floor, at_floors, count_at_least, raise_bests

__all__ = ["cut", "take", "take_across"]

#: Sets of bins, one a lane, at most.
_MOST_SETS = 8


@numba.njit(cache=True, nogil=True)
def take(products, halves, scores, numbers, counts, floors, keep, rows, column):  # type: ignore[no-untyped-def]
    """Products ``[b * c]`` of ``rows`` ``[b]`` with c columns, whose numbers start at ``column``."""
    wide = len(halves)
    even = wide // LANES * LANES
    sets = min(_MOST_SETS, (2 * keep + LANES - 1) // LANES)
    bests = np.empty(sets * LANES, np.float32)
    for line in range(len(rows)):
        row = rows[line]
        start = line * wide
        if floors[row] == -np.inf and even >= len(bests) >= keep:
            bests[:] = -np.inf
            at = 0
            for c in range(0, even, LANES):
                raise_bests(products, start + c, halves, c, bests, at)
                at = at + LANES if at + LANES < len(bests) else 0
            floors[row] = _kth_of(bests, keep)
        for c in range(0, even, LANES):
            bits = at_floor(products, start + c, halves, c, floors[row])
            while bits:
                lane = c + lowest(bits)
                bits &= bits - 1
                _put(scores, numbers, counts, floors, keep, row, products[start + lane] - halves[lane], column + lane)
        for c in range(even, wide):
            _put(scores, numbers, counts, floors, keep, row, products[start + c] - halves[c], column + c)


@numba.njit(cache=True, nogil=True)
def take_across(products, halves, scores, numbers, counts, floors, keep, first, column):  # type: ignore[no-untyped-def]
    """Products ``[b * c]`` whose columns are the rows from ``first`` on; the lines' numbers start at ``column``."""
    wide = len(products) // len(halves)
    even = wide // LANES * LANES
    for line in range(len(halves)):
        start = line * wide
        half = halves[line]
        for c in range(0, even, LANES):
            bits = at_floors(products, start + c, half, floors, first + c)
            while bits:
                lane = c + lowest(bits)
                bits &= bits - 1
                _put(scores, numbers, counts, floors, keep, first + lane, products[start + lane] - half, column + line)
        for c in range(even, wide):
            _put(scores, numbers, counts, floors, keep, first + c, products[start + c] - half, column + line)


@numba.njit(cache=True, nogil=True)
def cut(scores, numbers, counts, floors, keep):  # type: ignore[no-untyped-def]
    """Leave each row its ``keep`` largest, in the first places."""
    for row in range(len(counts)):
        if counts[row] > keep:
            _cut(scores[row], numbers[row], counts[row], keep)
            counts[row] = keep
        for c in range(counts[row], keep):
            scores[row, c] = -np.inf
            numbers[row, c] = -1


@numba.njit(cache=True, nogil=True)
def _kth_of(bests, keep):  # type: ignore[no-untyped-def]
    """The ``keep``-th largest; minus infinity where fewer have a score."""
    found = np.float32(-np.inf)
    for value in bests:
        if value <= found:
            continue
        count = 0
        for at in range(0, len(bests), LANES):
            count += count_at_least(bests, at, value)
        if count >= keep:
            found = value
    return found


@numba.njit(nogil=True, inline="always")
def _put(scores, numbers, counts, floors, keep, row, score, number):  # type: ignore[no-untyped-def]
    """Keep a score that is not below the row's floor."""
    if score >= floors[row] and score > -np.inf:
        place = counts[row]
        scores[row, place] = score
        numbers[row, place] = number
        counts[row] = place + 1
        if place + 1 == scores.shape[1]:
            least = _cut(scores[row], numbers[row], place + 1, keep)
            counts[row] = keep
            floors[row] = max(floors[row], least)


@numba.njit(nogil=True, inline="always")
def _before(score, number, other, others):  # type: ignore[no-untyped-def]
    """Whether a score comes before another: it is larger, or as large and of a lower number."""
    return score > other or (score == other and number < others)


@numba.njit(cache=True, nogil=True)
def _cut(scores, numbers, count, keep):  # type: ignore[no-untyped-def]
    """Bring the first ``keep`` of ``count`` to the front (Hoare's selection); return the least score of them."""
    low, high = 0, count - 1
    while low < high:
        # The middle one of three is the pivot.
        one, two, three = low, (low + high) // 2, high
        if _before(scores[two], numbers[two], scores[one], numbers[one]):
            one, two = two, one
        if _before(scores[three], numbers[three], scores[two], numbers[two]):
            two = one if _before(scores[three], numbers[three], scores[one], numbers[one]) else three
        pivot, number = scores[two], numbers[two]
        i, j = low, high
        while i <= j:
            while _before(scores[i], numbers[i], pivot, number):
                i += 1
            while _before(pivot, number, scores[j], numbers[j]):
                j -= 1
            if i <= j:
                scores[i], scores[j] = scores[j], scores[i]
                numbers[i], numbers[j] = numbers[j], numbers[i]
                i += 1
                j -= 1
        # From low to j all come before the pivot or are it, from i to high after; between them is the pivot.
        if keep - 1 <= j:
            high = j
        elif keep - 1 >= i:
            low = i
        else:
            break
    return scores[keep - 1]
