"""Greedy k-means++ on the CPU: all trials of a step are one panel of the score kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.assign._dense import doubt_of, frame_of, length_of, move
from fastclust_kernels.assign._exact import squared
from fastclust_kernels.assign._scores import score_group
from fastclust_kernels.assign._vectors import PANEL, TILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["greedy"]

#: Rows whose chances are added up together.
_BLOCK = 256
#: So many numbers of rows one thread looks through alone: each chosen row waits for all threads twice, microseconds on
#: an idle machine and milliseconds on a busy one.
_ALONE = 1 << 18


def greedy(
    X: NDArray[Any],
    weights: NDArray[np.float64],
    first: int | None,
    draws: NDArray[np.float64],
    nearest: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Numbers of the chosen rows; -1 from where on all rows lie on chosen ones. ``nearest`` goes on."""
    frame = frame_of(X[:: max(1, len(X) // 4096)])
    ahead = 0 if first is None else 1
    chosen = np.full(ahead + len(draws), -1, np.int64)
    chosen[:ahead] = -1 if first is None else first
    before = numba.get_num_threads()
    if X.size <= _ALONE:
        numba.set_num_threads(1)
    try:
        _greedy(X, weights, draws, frame.shift, frame.shifted, frame.unit, ahead, nearest, chosen)
    finally:
        numba.set_num_threads(before)
    return chosen


@numba.njit(cache=True, fastmath={"contract", "reassoc"})
def _product(x, c):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for j in range(len(x)):
        total += x[j] * c[j]
    return total


@numba.njit(cache=True)
def _drawn(target, sums, weights, nearest):  # type: ignore[no-untyped-def]
    """The row at which the running total of chances passes ``target``."""
    n = len(nearest)
    b = 0
    while b < len(sums) - 1 and target >= sums[b]:
        target -= sums[b]
        b += 1
    last = min(n, (b + 1) * _BLOCK)
    for i in range(b * _BLOCK, last):
        chance = weights[i] * nearest[i]
        if target < chance:
            return i
        target -= chance
    # Rounding: the last row of the block that has a chance.
    for i in range(last - 1, -1, -1):
        if weights[i] * nearest[i] > 0.0:
            return i
    return 0


@numba.njit(parallel=only_loops(), cache=True)
def _greedy(X, weights, draws, shift, shifted, unit, ahead, nearest, chosen):  # type: ignore[no-untyped-def]
    n, d = X.shape
    tiny = np.float64(np.finfo(X.dtype).tiny)
    trials = draws.shape[1]
    blocks = (n + _BLOCK - 1) // _BLOCK
    squares = np.empty(n, np.float64)
    sums = np.zeros(blocks, np.float64)
    potentials = np.zeros((blocks, PANEL), np.float64)
    panel = np.zeros((d, PANEL), X.dtype)
    half = np.zeros(PANEL, X.dtype)
    ours = np.zeros(PANEL, np.float64)
    candidates = np.zeros(PANEL, np.int64)
    nothing = np.full(TILE, -1, np.int32)
    c = np.empty(d, X.dtype)
    for b in numba.prange(blocks):
        moved = np.empty(d, X.dtype)
        chance = 0.0
        for i in range(b * _BLOCK, min((b + 1) * _BLOCK, n)):
            if shifted:
                move(X[i], shift, moved)
            squares[i] = length_of(moved if shifted else X[i])
            if not ahead:
                chance += weights[i] * nearest[i]
        sums[b] = chance
    for step in range(len(chosen)):
        winner = chosen[0]
        if step >= ahead:
            total = 0.0
            for b in range(blocks):
                total += sums[b]
            if not 0.0 < total < np.inf:
                return
            for t in range(trials):
                candidates[t] = _drawn(draws[step - ahead, t] * total, sums, weights, nearest)
                row = X[candidates[t]]
                for j in range(d):
                    panel[j, t] = row[j] - shift[j] if shifted else row[j]
                ours[t] = squares[candidates[t]]
                half[t] = 0.5 * ours[t]
            if trials > 1:
                for b in numba.prange(blocks):
                    local = np.empty((_BLOCK if shifted else 1, d), X.dtype)
                    scores = np.empty((TILE, PANEL), X.dtype)
                    tops = np.empty(TILE, X.dtype)
                    address = np.empty(TILE, np.int64)
                    start = b * _BLOCK
                    count = min(_BLOCK, n - start)
                    if shifted:
                        for i in range(count):
                            move(X[start + i], shift, local[i])
                    base = local.ctypes.data if shifted else X.ctypes.data + start * d * X.itemsize
                    mine = np.zeros(PANEL, np.float64)
                    for tile in range(0, count, TILE):
                        for r in range(TILE):
                            address[r] = base + min(tile + r, count - 1) * d * X.itemsize
                        score_group(address, panel, half, d, nothing, scores, tops)
                        for r in range(min(TILE, count - tile)):
                            i = start + tile + r
                            for lane in range(PANEL):
                                distance = max(squares[i] - 2.0 * np.float64(scores[r, lane]), 0.0)
                                mine[lane] += weights[i] * min(distance, nearest[i])
                    for lane in range(PANEL):
                        potentials[b, lane] = mine[lane]
                least = np.inf
                for t in range(trials):
                    potential = 0.0
                    for b in range(blocks):
                        potential += potentials[b, t]
                    if potential < least:
                        least = potential
                        winner = candidates[t]
            else:
                winner = candidates[0]
        chosen[step] = winner
        for j in range(d):
            c[j] = X[winner, j] - shift[j] if shifted else X[winner, j]
        own = length_of(c)
        for b in numba.prange(blocks):
            moved = np.empty(d, X.dtype)
            start = b * _BLOCK
            mine_sum = 0.0
            for i in range(start, min(start + _BLOCK, n)):
                if shifted:
                    move(X[i], shift, moved)
                here = moved if shifted else X[i]
                distance = squares[i] + own - 2.0 * np.float64(_product(here, c))
                # Near the row just chosen, digits are lost: there by differences.
                if not distance > 8.0 * doubt_of(squares[i], np.sqrt(own), d, unit, tiny):
                    distance = squared(X[i], X[winner])
                nearest[i] = min(nearest[i], distance)
                mine_sum += weights[i] * nearest[i]
            sums[b] = mine_sum
