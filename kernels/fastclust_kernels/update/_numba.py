"""The update on the CPU: a counting sort by label, sums of short segments in parallel, segments added in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["difference", "update"]

#: Rows of one cluster that are added by one thread at a time; fixed, so that the order of additions is.
_SEGMENT = 2048


def update(
    X: NDArray[Any], labels: NDArray[np.int32], k: int, weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums ``[k, d]`` and weights ``[k]``."""
    order, counts = _sort(labels, k)
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
    ends = np.cumsum(counts)
    if rows is not None:
        order = rows[order]
    _carry(X, order, ends - counts, ends, np.ones(0) if weights is None else weights, weights is not None, *into)


def _added(
    X: NDArray[Any], rows: NDArray[np.int64], counts: NDArray[np.int64], weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of ``rows``, which stand one cluster after the other, ``counts`` to a cluster."""
    owner, starts, stops = _segments(counts)
    partial = np.empty((len(owner), X.shape[1]))
    partial_weights = np.empty(len(owner))
    each = np.ones(0) if weights is None else weights
    _add(X, rows, starts, stops, each, weights is not None, partial, partial_weights)
    sums, total = _combine(partial, partial_weights, owner, len(counts))
    return sums, total


@numba.njit(cache=True)
def _sort(labels, k):  # type: ignore[no-untyped-def]
    """Row numbers by label, in their own order within a label, and the size of each cluster."""
    counts = np.zeros(k, np.int64)
    for label in labels:
        counts[label] += 1
    place = np.cumsum(counts) - counts
    order = np.empty(len(labels), np.int64)
    for i, label in enumerate(labels):
        order[place[label]] = i
        place[label] += 1
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


@numba.njit(parallel=True, cache=True, nogil=True, fastmath={"contract"})
def _add(X, rows, starts, stops, weights, weighted, partial, partial_weights):  # type: ignore[no-untyped-def]
    d = X.shape[1]
    for segment in numba.prange(len(starts)):
        row = partial[segment]
        row[:] = 0.0
        total = 0.0
        for place in range(starts[segment], stops[segment]):
            i = rows[place]
            weight = weights[place] if weighted else 1.0
            total += weight
            for j in range(d):
                row[j] += weight * X[i, j]
        partial_weights[segment] = total


@numba.njit(parallel=True, cache=True, nogil=True, fastmath={"contract"})
def _carry(X, rows, starts, stops, weights, weighted, sums, total, partial, partial_weights, filled):  # type: ignore[no-untyped-def]
    d = X.shape[1]
    for c in numba.prange(len(starts)):
        row = partial[c]
        count = filled[c]
        for place in range(starts[c], stops[c]):
            if count == _SEGMENT:
                for j in range(d):
                    sums[c, j] += row[j]
                total[c] += partial_weights[c]
                row[:] = 0.0
                partial_weights[c] = 0.0
                count = 0
            i = rows[place]
            weight = weights[i] if weighted else 1.0
            partial_weights[c] += weight
            for j in range(d):
                row[j] += weight * X[i, j]
            count += 1
        filled[c] = count


@numba.njit(cache=True)
def _combine(partial, partial_weights, owner, k):  # type: ignore[no-untyped-def]
    sums = np.zeros((k, partial.shape[1]))
    weights = np.zeros(k)
    for segment in range(len(owner)):
        sums[owner[segment]] += partial[segment]
        weights[owner[segment]] += partial_weights[segment]
    return sums, weights
