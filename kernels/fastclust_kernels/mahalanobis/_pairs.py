"""All pairs on the CPU: whitened rows tile by tile, and close pairs again from the original rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.arrays import writable
from fastclust_kernels.mahalanobis import bounds
from fastclust_kernels.mahalanobis._exact import difference, whitened
from fastclust_kernels.mahalanobis._tiles import TILE, address_tile, distances, lanes_of, squared_distances
from fastclust_kernels.mahalanobis._whiten import Map, Whitened, map_of, panels_of, whiten

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["limits_of", "pairs", "slab_of"]

#: Up to this many columns differences cost no more than a product.
_NARROW = 4
#: Bytes of mapped rows that are kept at a time.
_SLAB = 1 << 26
#: Rows, and bytes of panels, of a piece of work.
_ROWS = 128
_PANEL_BYTES = 1 << 18


def slab_of(rank: int) -> int:
    """Rows that are mapped at a time."""
    return max(2048, _SLAB // (16 * max(rank, 16)))


def pairs(X: NDArray[Any], Y: NDArray[Any], factor: NDArray[np.float64], out: NDArray[Any], *, squared: bool) -> None:
    """Write the distances into ``out`` ``[n, m]``; memory beside it is bounded whatever n and m are."""
    if X.shape[1] <= _NARROW:
        _differences(writable(X), np.ascontiguousarray(Y.T, np.float64), factor, out, squared)
        return
    by = map_of(factor, Y.mean(axis=0, dtype=np.float64))
    step = slab_of(factor.shape[1])
    kept = whiten(X, by) if len(X) <= step else None
    for first in range(0, len(Y), step):
        others = Y[first : first + step]
        right = kept if kept is not None and Y is X else whiten(others, by)
        for start in range(0, len(X), step):
            rows = X[start : start + step]
            left = kept if kept is not None else whiten(rows, by)
            _slab(rows, others, by, (left, right), out, (start, first), squared=squared)


def limits_of(by: Map, sides: tuple[Whitened, Whitened], dtype: Any) -> list[NDArray[np.float64]]:
    """For each side's rows, their part of the squared distance below which whitening costs too much."""
    tolerance = bounds.TOLERANCE[np.dtype(dtype).name]
    d, rank = by.factor.shape
    share = bounds.repair_below(dtype, rank)
    found = [bounds.losses(side.spreads, d, tolerance) for side in sides]
    if any((loss > share * side.norms).any() for loss, side in zip(found, sides, strict=True)):
        # Only an ill-conditioned factor, or a row near the mean, comes here.
        allowed = tolerance * max(1.0, bounds.condition_at_least(by.factor) / 10)
        found = [bounds.losses(side.spreads, d, allowed) for side in sides]
    return found


def _slab(
    X: NDArray[Any],
    Y: NDArray[Any],
    by: Map,
    sides: tuple[Whitened, Whitened],
    out: NDArray[Any],
    place: tuple[int, int],
    *,
    squared: bool,
) -> None:
    """Write the distances of some rows to some others into ``out`` from ``place`` on."""
    left, right = sides
    rank = by.factor.shape[1]
    lanes = lanes_of(X.dtype)
    share, floor = bounds.repair_below(X.dtype, rank), bounds.floor_of(X.dtype)
    lost = limits_of(by, sides, X.dtype)
    with np.errstate(over="ignore"):
        norms, limits = (
            [part.astype(X.dtype) for part in parts]
            for parts in (
                (left.norms, right.norms),
                [share * side.norms + loss + floor for side, loss in zip(sides, lost, strict=True)],
            )
        )
    room = -len(Y) % lanes
    _products(
        *(writable(X), writable(Y), by.factor, left.exact, right.exact, left.rounded, panels_of(right, rank)),
        *(norms[0], np.pad(norms[1], (0, room)).reshape(-1, lanes)),
        *(limits[0], np.pad(limits[1], (0, room)).reshape(-1, lanes)),
        *(
            lost[0],
            lost[1],
            writable(out),
            *place,
            squared,
            max(1, _PANEL_BYTES // (rank * 128)),
            numba.get_num_threads(),
        ),
    )


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _products(  # type: ignore[no-untyped-def]
    X, Y, factor, left, right, rounded, panels, norms, others, limits, other_limits, lost, other_lost,
    out, top, side, squared, chunk, threads,
):  # fmt: skip
    for thread in numba.prange(threads):
        _thread(
            X, Y, factor, left, right, rounded, panels, norms, others, limits, other_limits, lost, other_lost,
            out, top, side, squared, chunk, np.int64(thread), threads,
        )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _thread(  # type: ignore[no-untyped-def]
    X, Y, factor, left, right, rounded, panels, norms, others, limits, other_limits, lost, other_lost,
    out, top, side, squared, chunk, thread, threads,
):  # fmt: skip
    """Every ``threads``-th piece of work. In a function of its own, which compiles faster than a parallel loop."""
    n, m = len(X), len(Y)
    p, rank, lanes = panels.shape
    size, stride = out.itemsize, out.strides[0]
    corner = out.ctypes.data + top * stride + side * size
    blocks = (n + _ROWS - 1) // _ROWS
    chunks = (p + chunk - 1) // chunk
    address = np.empty(TILE, np.int64)
    outs = np.empty(TILE, np.int64)
    hits = np.empty(TILE, np.int64)
    own = np.empty(TILE, rounded.dtype)
    own_limit = np.empty(TILE, rounded.dtype)
    # Where the last panel, or rows that are not there, go.
    spare = np.empty((TILE, lanes), rounded.dtype)
    part = np.empty(rank, np.float64)
    for work in range(thread, blocks * chunks, threads):
        first = (work % chunks) * chunk
        start = (work // chunks) * _ROWS
        end = min(n, start + _ROWS)
        for tile in range(start, end, TILE):
            count = min(TILE, end - tile)
            address_tile(address, rounded.ctypes.data, rounded.strides[0], tile, tile + count)
            for r in range(TILE):
                own[r] = norms[tile + min(r, count - 1)]
                own_limit[r] = limits[tile + min(r, count - 1)]
            for g in range(first, min(p, first + chunk)):
                width = min(lanes, m - g * lanes)
                whole = count == TILE and width == lanes
                if whole:
                    address_tile(outs, corner + g * lanes * size, stride, tile, tile + count)
                else:
                    address_tile(outs, spare.ctypes.data, lanes * size, 0, TILE)
                if squared:
                    some = squared_distances(
                        address, panels[g], others[g], other_limits[g], own, own_limit, rank, outs, hits
                    )
                else:
                    some = distances(address, panels[g], others[g], other_limits[g], own, own_limit, rank, outs, hits)
                if not whole:
                    for r in range(count):
                        for lane in range(width):
                            out[top + tile + r, side + g * lanes + lane] = spare[r, lane]
                if some:
                    for r in range(count):
                        if hits[r]:
                            for lane in range(width):
                                if hits[r] >> lane & 1:
                                    i, j = tile + r, g * lanes + lane
                                    total = whitened(left[i], right[j])
                                    if not total > lost[i] + other_lost[j]:
                                        total = difference(X[i], Y[j], factor, part)
                                    out[top + i, side + j] = total if squared else np.sqrt(total)


@numba.njit(parallel=only_loops(), cache=True, nogil=True, fastmath={"contract"})
def _differences(X, others, factor, out, squared):  # type: ignore[no-untyped-def]
    """From the differences of a few columns; ``others`` is float64 ``[d, m]``."""
    n, m = out.shape
    d, rank = factor.shape
    width = 512
    for i in numba.prange(n):
        part = np.empty(width, np.float64)
        total = np.empty(width, np.float64)
        for first in range(0, m, width):
            count = min(width, m - first)
            total[:] = 0.0
            for c in range(rank):
                part[:] = 0.0
                for k in range(d):
                    value, weight = np.float64(X[i, k]), factor[k, c]
                    for j in range(count):
                        part[j] += (value - others[k, first + j]) * weight
                for j in range(count):
                    total[j] += part[j] * part[j]
            for j in range(count):
                out[i, first + j] = total[j] if squared else np.sqrt(total[j])
