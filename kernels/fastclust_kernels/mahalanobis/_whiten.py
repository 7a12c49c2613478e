"""Rows in the space where the metric is Euclidean, with what their rounding may have cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.arrays import empty_on_lines, writable
from fastclust_kernels.mahalanobis._tiles import TILE, address_tile, lanes_of, multiply, pack, used_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Map", "Whitened", "map_of", "panels_of", "whiten"]

_BLOCK = 64


class Map(NamedTuple):
    """``x -> W^T (x - shift)``."""

    #: float64 [d, r]: W.
    factor: NDArray[np.float64]
    #: float64 [d].
    shift: NDArray[np.float64]
    #: float64 [d]: lengths of W's rows.
    lengths: NDArray[np.float64]
    #: float64 [p, d, 16].
    panels: NDArray[np.float64]
    #: Which rows of each panel, from the first to before the last, are not zeros: half of those of a triangle.
    first: NDArray[np.int64]
    last: NDArray[np.int64]


class Whitened(NamedTuple):
    """Mapped rows; columns beyond r are zeros."""

    #: float64 [n, 16 p].
    exact: NDArray[np.float64]
    #: The same in the dtype of the rows.
    rounded: NDArray[Any]
    #: float64 [n]: squared lengths.
    norms: NDArray[np.float64]
    #: float64 [n]: length of the row from the shift, each column weighted by the length of W's row. What whitening in
    #: float64 may lose is a multiple of its roundoff and this: README.md, Whitening.
    spreads: NDArray[np.float64]


def map_of(factor: NDArray[np.float64], shift: NDArray[np.float64]) -> Map:
    """Prepare a factor ``[d, r]``."""
    matrix = np.ascontiguousarray(factor, np.float64)
    panels = pack(matrix)
    lengths = np.sqrt(np.einsum("dr,dr->d", matrix, matrix))
    return Map(matrix, np.ascontiguousarray(shift), lengths, panels, *used_of(panels))


def whiten(rows: NDArray[Any], by: Map) -> Whitened:
    """Map rows in float64. Every row's numbers are the same whatever other rows come with it."""
    n, width = len(rows), len(by.panels) * by.panels.shape[2]
    exact = np.empty((n, width))
    rounded = exact if rows.dtype == np.float64 else np.empty((n, width), rows.dtype)
    norms, spreads = np.empty(n), np.empty(n)
    _whiten(writable(rows), by.shift, by.lengths, by.panels, by.first, by.last, exact, rounded, norms, spreads)
    return Whitened(exact, rounded, norms, spreads)


def panels_of(white: Whitened, rank: int) -> NDArray[Any]:
    """Mapped rows as panels of columns ``[p, r, lanes]``; the places left over are zeros."""
    lanes = lanes_of(white.rounded.dtype)
    filled = empty_on_lines((-(-len(white.rounded) // lanes), rank, lanes), white.rounded.dtype)
    _panels(white.rounded, filled)
    return filled


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _whiten(rows, shift, lengths, panels, first, last, exact, rounded, norms, spreads):  # type: ignore[no-untyped-def]
    n, d = rows.shape
    width = exact.shape[1]
    blocks = (n + _BLOCK - 1) // _BLOCK
    for block in numba.prange(blocks):
        moved = np.empty((_BLOCK, d), np.float64)
        address = np.empty(TILE, np.int64)
        outs = np.empty(TILE, np.int64)
        start = block * _BLOCK
        count = min(_BLOCK, n - start)
        for i in range(count):
            total = 0.0
            for j in range(d):
                moved[i, j] = np.float64(rows[start + i, j]) - shift[j]
                weighted = moved[i, j] * lengths[j]
                total += weighted * weighted
            spreads[start + i] = np.sqrt(total)
        for p in range(len(panels)):
            for tile in range(0, count, TILE):
                address_tile(address, moved.ctypes.data, d * 8, tile, count)
                address_tile(outs, exact.ctypes.data + start * width * 8 + p * 128, width * 8, tile, count)
                multiply(address, panels[p], first[p], last[p] - first[p], outs)
        for i in range(start, start + count):
            total = 0.0
            for c in range(width):
                total += exact[i, c] * exact[i, c]
                rounded[i, c] = exact[i, c]
            norms[i] = total


@numba.njit(parallel=only_loops(), cache=True, nogil=True)
def _panels(rounded, filled):  # type: ignore[no-untyped-def]
    p, r, lanes = filled.shape
    n = len(rounded)
    for g in numba.prange(p):
        for lane in range(lanes):
            i = g * lanes + lane
            for c in range(r):
                filled[g, c, lane] = rounded[i, c] if i < n else 0
