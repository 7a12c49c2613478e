"""Labels and sums for at most 16 centres, in one pass: each row is read once, and only if its bounds do not settle it.

Hamerly's two bounds a row ("Making k-means even faster", SDM 2010). Sums are those of chunks of rows, which one thread
adds up in the order of the rows, whatever the number of threads.
"""

from __future__ import annotations

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.assign._dense import doubt_of, length_of, move
from fastclust_kernels.assign._exact import squared
from fastclust_kernels.assign._limits import DOWN
from fastclust_kernels.assign._ranked import rank_panel
from fastclust_kernels.assign._vectors import TILE

__all__ = ["ALL", "CHANGES", "CHUNK", "NOTHING", "add_chunks", "combine", "label_chunks"]

#: Rows whose sums are added up by one thread; fixed, so that the order of additions is.
CHUNK = 2048
#: What is added up meanwhile: nothing, all rows, or what the clusters gain by labels that change.
NOTHING, ALL, CHANGES = 0, 1, 2
#: Bytes of rows that are worked on together, and their number.
_ROWS_BYTES = 256 * 1024
_MOST_ROWS = 256
_DOWN = np.float32(DOWN)
_UP = np.float32(1 + 2.0**-22)
#: Below float32's normal numbers roundings are absolute; every bound stays this far off.
_FLOOR = 2.0**-124
#: No bound from below is more than a float32 can be.
_MOST = 2.0**127
#: Unit roundoff of squared lengths.
_UNIT = 2.0**-53


@numba.njit(cache=True, fastmath={"contract"})
def _gain(sums, chunk, label, X, row, weight):  # type: ignore[no-untyped-def]
    for j in range(X.shape[1]):
        sums[chunk, label, j] += weight * np.float64(X[row, j])


@numba.njit(cache=True, fastmath={"contract"})
def _pass_on(sums, chunk, loser, winner, X, row, weight):  # type: ignore[no-untyped-def]
    for j in range(X.shape[1]):
        moved = weight * np.float64(X[row, j])
        sums[chunk, loser, j] -= moved
        sums[chunk, winner, j] += moved


@numba.njit(cache=True, nogil=True)
def _open_rows(count, labels, drift, rivals, upper, lower, active):  # type: ignore[no-untyped-def]
    """Let the bounds of ``count`` rows follow the centres; list those that they do not settle, without branches."""
    found = 0
    for i in range(count):
        c = labels[i]
        high = (upper[i] + drift[c]) * _UP
        low = (lower[i] - rivals[c]) * _DOWN
        upper[i] = high
        lower[i] = low
        active[found] = i
        # Unordered: a bound that is no number is no bound.
        found += not high < low
    return found


@numba.njit(cache=True, nogil=True)
def _bound(count, squares, tops, nexts, reach, d, unit, tiny, shifted, doubt, upper, lower):  # type: ignore[no-untyped-def]
    """Bounds on the distances to the best and to any other centre, from scores: README.md, Bounds."""
    for a in range(count):
        off = doubt_of(squares[a], reach, d, unit, tiny)
        far = _FLOOR + (2.0 * unit * (np.sqrt(squares[a]) + reach) if shifted else 0.0)
        own = (d + 4.0) * _UNIT * squares[a]
        high = max(squares[a] - 2.0 * (np.float64(tops[a]) - off) + own, 0.0)
        low = max(squares[a] - 2.0 * (np.float64(nexts[a]) + off) - own, 0.0)
        doubt[a] = off
        upper[a] = np.float32(np.sqrt(high) + far) * _UP
        lower[a] = np.float32(min(np.sqrt(low) - far, _MOST)) * _DOWN


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def label_chunks(  # type: ignore[no-untyped-def]
    X, centers, panel, half, drift, rivals, shift, shifted, unit, reach, bounded, gather,
    labels, squares, upper, lower, weights, weighted, sums, totals, counts, changed, scored, threads,
):  # fmt: skip
    """Labels of rows ``X`` in place, and for each chunk of them what ``gather`` says.

    ``drift`` and ``rivals`` (float32 ``[k]``) are how far each centre and any other went; ``squares`` (float64),
    ``upper`` and ``lower`` (float32) are kept a row if ``bounded``. For each chunk: ``sums`` (float64 ``[k, d]``),
    ``totals`` of weights and ``counts`` of rows with weight ``[k]``, how many labels ``changed``, how many rows were
    ``scored``.
    """
    n, d = X.shape
    width = d * X.itemsize
    rows = max(TILE, min(_MOST_ROWS, _ROWS_BYTES // width // TILE * TILE))
    chunks = (n + CHUNK - 1) // CHUNK
    largest = np.finfo(X.dtype).max / 8
    tiny = np.float64(np.finfo(X.dtype).tiny)
    everywhere = X.ctypes.data
    for thread in numba.prange(threads):
        local = np.empty((rows if shifted else 1, d), X.dtype)
        origin = local.ctypes.data
        active = np.empty(rows + TILE, np.int64)
        address = np.empty(TILE, np.int64)
        ahead = np.empty(TILE, np.int64)
        found = np.empty(rows + TILE, np.int32)
        tops = np.empty(rows + TILE, X.dtype)
        nexts = np.empty(rows + TILE, X.dtype)
        lengths = np.empty(rows, np.float64)
        doubt = np.empty(rows, np.float64)
        high = np.empty(rows, np.float32)
        low = np.empty(rows, np.float32)
        for chunk in range(thread, chunks, threads):
            stop = min(n, (chunk + 1) * CHUNK)
            changed[chunk] = 0
            scored[chunk] = 0
            if gather != NOTHING:
                sums[chunk] = 0.0
                totals[chunk] = 0.0
                counts[chunk] = 0
            for start in range(chunk * CHUNK, stop, rows):
                count = min(rows, stop - start)
                here = slice(start, start + count)
                if bounded:
                    many = _open_rows(count, labels[here], drift, rivals, upper[here], lower[here], active)
                else:
                    many = count
                    for i in range(count):
                        active[i] = i
                scored[chunk] += many
                for a in range(many):
                    row = start + active[a]
                    if shifted:
                        move(X[row], shift, local[a])
                    # An upper bound of infinity is that of a row that was never looked at.
                    if bounded and upper[row] < np.inf:
                        lengths[a] = squares[row]
                    else:
                        lengths[a] = length_of(local[a]) if shifted else length_of(X[row])
                        if bounded:
                            squares[row] = lengths[a]
                for t in range(0, many, TILE):
                    for r in range(TILE):
                        # The next tile's rows are brought near meanwhile, where lengths have not done so.
                        a = min(t + r, many - 1)
                        b = min(t + TILE + r, many - 1) if bounded else a
                        address[r] = origin + a * width if shifted else everywhere + (start + active[a]) * width
                        ahead[r] = origin + b * width if shifted else everywhere + (start + active[b]) * width
                    rank_panel(address, panel, half, d, ahead, t, found, tops, nexts)
                _bound(many, lengths, tops, nexts, reach, d, unit, tiny, shifted, doubt, high, low)
                for a in range(many):
                    row = start + active[a]
                    # README.md: beyond this margin no rounding can have put the wrong centre first. Where products may
                    # overflow, nothing is certain.
                    overflows = lengths[a] + reach * reach > largest
                    if overflows or not np.float64(tops[a]) - np.float64(nexts[a]) > 2.0 * doubt[a]:
                        far = _FLOOR + (2.0 * unit * (np.sqrt(lengths[a]) + reach) if shifted else 0.0)
                        found[a], high[a], low[a] = _decide(X[row], centers, far)
                    if bounded:
                        upper[row] = high[a]
                        lower[row] = low[a]
                    old, new = labels[row], found[a]
                    labels[row] = new
                    changed[chunk] += old != new
                    if gather == ALL or (gather == CHANGES and old != new):
                        weight = weights[row] if weighted else 1.0
                        some = weight > 0.0
                        totals[chunk, new] += weight
                        counts[chunk, new] += some
                        if gather == ALL:
                            _gain(sums, chunk, new, X, row, weight)
                        else:
                            totals[chunk, old] -= weight
                            counts[chunk, old] -= some
                            _pass_on(sums, chunk, old, new, X, row, weight)


@numba.njit(cache=True)
def _decide(x, centers, slack):  # type: ignore[no-untyped-def]
    """The nearest centre by differences in float64, the lowest on a tie, and the bounds that follow."""
    label, nearest, second = 0, np.inf, np.inf
    for c in range(len(centers)):
        distance = squared(x, centers[c])
        if distance < nearest:
            label, nearest, second = c, distance, nearest
        else:
            second = min(second, distance)
    high = np.float32(np.sqrt(nearest) + slack) * _UP
    return np.int32(label), high, np.float32(min(np.sqrt(second) - slack, _MOST)) * _DOWN


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def add_chunks(X, labels, weights, weighted, sums, totals, counts, threads):  # type: ignore[no-untyped-def]
    """What :func:`label_chunks` adds up of all rows, for ``labels`` that are known."""
    n = len(X)
    chunks = (n + CHUNK - 1) // CHUNK
    for thread in numba.prange(threads):
        for chunk in range(thread, chunks, threads):
            sums[chunk] = 0.0
            totals[chunk] = 0.0
            counts[chunk] = 0
            for row in range(chunk * CHUNK, min(n, (chunk + 1) * CHUNK)):
                weight = weights[row] if weighted else 1.0
                label = labels[row]
                totals[chunk, label] += weight
                counts[chunk, label] += weight > 0.0
                _gain(sums, chunk, label, X, row, weight)


@numba.njit(cache=True)
def combine(chunks, skip, changed, sums, totals, counts, into_sums, into_totals, into_counts):  # type: ignore[no-untyped-def]
    """Add the chunks one after the other; with ``skip`` those without a ``changed`` label are left out."""
    for chunk in range(chunks):
        if not (skip and changed[chunk] == 0):
            into_sums += sums[chunk]
            into_totals += totals[chunk]
            into_counts += counts[chunk]
