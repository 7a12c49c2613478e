"""The update on the CPU: a counting sort by label, sums of short segments in parallel, segments added in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels._near import bring_near
from fastclust_kernels.arrays import writable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["difference", "update"]

#: Rows of one cluster that are added by one thread at a time; fixed, so that the order of additions is.
_SEGMENT = 2048
#: Bytes of a row from which on it is worth to bring it near ahead.
_LONG = 1024


def update(
    X: NDArray[Any], labels: NDArray[np.int32], k: int, weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums ``[k, d]`` and weights ``[k]``."""
    order, counts = _sort(writable(labels), k)
    return _added(X, order, counts, None if weights is None else weights[order])


def difference(
    X: NDArray[Any],
    rows: NDArray[np.int64],
    old: NDArray[np.int32],
    new: NDArray[np.int32],
    k: int,
    weights: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What sums and weights gain when ``rows`` go from the ``old`` labels to the ``new`` ones."""
    # Apart, so that rows which come block by block give the same bits: streamed.py.
    each = np.ones(len(rows)) if weights is None else weights[rows]
    (gained, total), (lost, gone) = (
        _added(X, rows[order], counts, each[order]) for order, counts in (_sort(new, k), _sort(old, k))
    )
    return gained - lost, total - gone


def carry(
    X: NDArray[Any],
    rows: NDArray[np.int64] | None,
    labels: NDArray[np.int32],
    weights: NDArray[np.float64] | None,
    into: tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]],
) -> None:
    """Add ``rows`` of ``X`` (None: all) to running sums, weights, open segments, their weights and their lengths."""
    order, counts = _sort(labels if rows is None else labels[rows], len(into[0]))
    if rows is not None:
        order = rows[order]
    starts, stops, owner, fresh, many, first = _cut(counts, into[-1])
    each = np.ones(0) if weights is None else weights
    _carry(writable(X), order, starts, stops, owner, fresh, many, first, each, weights is not None, *into)


def _added(
    X: NDArray[Any], rows: NDArray[np.int64], counts: NDArray[np.int64], weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of ``rows``, which stand one cluster after the other, ``counts`` to a cluster."""
    owner, starts, stops = _segments(counts)
    partial = np.empty((len(owner), X.shape[1]))
    partial_weights = np.empty(len(owner))
    each = np.ones(0) if weights is None else weights
    _add(writable(X), rows, starts, stops, each, weights is not None, partial, partial_weights)
    sums, total = _combine(partial, partial_weights, owner, len(counts))
    return sums, total


@numba.njit(cache=True)
def _sort(labels, k):  # type: ignore[no-untyped-def]
    """Row numbers by label, in their own order within a label, and the size of each cluster."""
    n = len(labels)
    counts, place = np.zeros(k, np.int64), np.empty(k, np.int64)
    for i in range(n):
        counts[labels[i]] += 1
    before = 0
    for c in range(k):
        place[c] = before
        before += counts[c]
    order = np.empty(n, np.int64)
    for i in range(n):
        order[place[labels[i]]] = i
        place[labels[i]] += 1
    return order, counts


@numba.njit(cache=True)
def _segments(counts):  # type: ignore[no-untyped-def]
    """Each segment's cluster, and where it starts and stops."""
    many = 0
    for count in counts:
        many += (count + _SEGMENT - 1) // _SEGMENT
    owner, starts, stops = np.empty(many, np.int64), np.empty(many, np.int64), np.empty(many, np.int64)
    segment = end = 0
    for c in range(len(counts)):
        start, end = end, end + counts[c]
        while start < end:
            owner[segment], starts[segment], stops[segment] = c, start, min(start + _SEGMENT, end)
            start += _SEGMENT
            segment += 1
    return owner, starts, stops


@numba.njit(parallel=only_loops(), cache=True, nogil=True, fastmath={"contract"})
def _add(X, rows, starts, stops, weights, weighted, partial, partial_weights):  # type: ignore[no-untyped-def]
    d = X.shape[1]
    width = d * X.itemsize
    everywhere = X.ctypes.data
    for segment in numba.prange(len(starts)):
        row = partial[segment]
        row[:] = 0.0
        total = 0.0
        stop = stops[segment]
        for place in range(starts[segment], stop):
            i = rows[place]
            # Rows of a cluster lie apart: of long ones, the one after the next is brought near meanwhile.
            if width >= _LONG and place + 2 < stop:
                bring_near(everywhere + rows[place + 2] * width, width)
            weight = weights[place] if weighted else 1.0
            total += weight
            for j in range(d):
                row[j] += weight * X[i, j]
        partial_weights[segment] = total


@numba.njit(cache=True)
def _cut(counts, filled):  # type: ignore[no-untyped-def]
    """Cut what each cluster gets where its segments end.

    For each piece: where it begins and ends, whose it is, and its number among those that begin a segment, or -1 for
    one that goes on with the open one, which is the first of its cluster. And the first piece of each cluster.
    """
    k = len(counts)
    first = np.zeros(k + 1, np.int64)
    for c in range(k):
        beyond = max(0, counts[c] - (_SEGMENT - filled[c]))
        first[c + 1] = first[c] + (counts[c] > 0) + (beyond + _SEGMENT - 1) // _SEGMENT
    starts = np.empty(first[k], np.int64)
    stops = np.empty(first[k], np.int64)
    owner = np.empty(first[k], np.int64)
    fresh = np.empty(first[k], np.int64)
    place = begun = 0
    for c in range(k):
        end = place + counts[c]
        room = _SEGMENT - filled[c]
        for piece in range(first[c], first[c + 1]):
            owner[piece] = c
            fresh[piece] = -1 if piece == first[c] else begun
            begun += piece > first[c]
            starts[piece] = place
            place = min(end, place + room)
            stops[piece] = place
            room = _SEGMENT
    return starts, stops, owner, fresh, begun, first


@numba.njit(parallel=only_loops(), cache=True, nogil=True, fastmath={"contract"})
def _carry(  # type: ignore[no-untyped-def]
    X, rows, starts, stops, owner, fresh, many, first, weights, weighted, sums, total, partial, partial_weights, filled
):
    """Segments are added up side by side, as clusters may be few; each in the order of its rows, and then in theirs."""
    d = X.shape[1]
    begun = np.zeros((many, d))
    begun_weights = np.zeros(many)
    for piece in numba.prange(len(starts)):
        c = owner[piece]
        row = partial[c] if fresh[piece] < 0 else begun[fresh[piece]]
        weight_of_all = partial_weights[c] if fresh[piece] < 0 else 0.0
        for place in range(starts[piece], stops[piece]):
            i = rows[place]
            weight = weights[i] if weighted else 1.0
            weight_of_all += weight
            for j in range(d):
                row[j] += weight * X[i, j]
        if fresh[piece] < 0:
            partial_weights[c] = weight_of_all
        else:
            begun_weights[fresh[piece]] = weight_of_all
    # Not in parallel: there are few of these, and another wait for all threads costs more.
    for c in range(len(sums)):
        if first[c + 1] == first[c]:
            continue
        for piece in range(first[c] + 1, first[c + 1]):
            for j in range(d):
                sums[c, j] += partial[c, j]
                partial[c, j] = begun[fresh[piece], j]
            total[c] += partial_weights[c]
            partial_weights[c] = begun_weights[fresh[piece]]
            filled[c] = 0
        filled[c] += stops[first[c + 1] - 1] - starts[first[c + 1] - 1]


@numba.njit(cache=True)
def _combine(partial, partial_weights, owner, k):  # type: ignore[no-untyped-def]
    d = partial.shape[1]
    sums = np.zeros((k, d))
    weights = np.zeros(k)
    for segment in range(len(owner)):
        c = owner[segment]
        # One by one: the sum of two arrays would take Numba five seconds more to compile.
        for j in range(d):
            sums[c, j] += partial[segment, j]
        weights[c] += partial_weights[segment]
    return sums, weights
