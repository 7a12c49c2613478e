"""A tree of cells over points in up to three dimensions: points along a Z-order curve, cells in depth-first order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np

from fastclust_kernels._loops import only_loops

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LEAF", "Tree", "tree_of"]

#: Most points of a leaf: they share one walk through the tree.
LEAF = 32
#: Bits of the code of a place along each axis; three axes fit into 63.
_BITS = 21
#: Points that one task codes.
_BLOCK = 4096


class Tree(NamedTuple):
    """Cells in depth-first order: the first child of cell c is c + 1, and ``after[c]`` is the next one outside of c."""

    #: int32 [n]: the point at each place along the curve.
    order: NDArray[np.int32]
    #: float32 [3, n]: coordinates along the curve; missing axes are 0.
    axes: NDArray[np.float32]
    #: int32 [cells, 2]: first place of a cell's points, and the one after its last.
    ranges: NDArray[np.int32]
    #: int32 [cells]
    after: NDArray[np.int32]
    #: float32 [cells, 6]: least and largest coordinates of a cell's points.
    boxes: NDArray[np.float32]
    #: float32 [cells, 9]: mean of a cell's points, and the sums xx, yy, zz, xy, xz, yz of products about it.
    moments: NDArray[np.float32]
    #: float32 [cells]: square of the largest distance from the mean to a corner of the box.
    reaches: NDArray[np.float32]
    #: int32 [leaves]: cells that have no children.
    leaves: NDArray[np.int32]


def tree_of(Y: NDArray[np.float32]) -> Tree:
    """Build the tree of points ``[n, dimensions]``; the result does not depend on the number of threads."""
    n, dimensions = Y.shape
    low = Y.min(axis=0)
    extent = float((Y.max(axis=0) - low).max())
    scale = (2**_BITS - 1) / extent if extent > 0 else 0.0
    codes = np.empty(n, np.int64)
    _code(Y, low, scale, codes)
    order = np.argsort(codes, kind="stable").astype(np.int32)
    axes = np.zeros((3, n), np.float32)
    for axis in range(dimensions):
        axes[axis] = Y[order, axis]
    # Every cell that is split has two children that hold points.
    ranges, after, count = _split(codes[order], np.empty((2 * n + 1, 2), np.int32), np.empty(2 * n + 1, np.int32))
    ranges, after = ranges[:count].copy(), after[:count].copy()
    leaves = np.flatnonzero(after == np.arange(1, count + 1)).astype(np.int32)
    boxes, moments = np.empty((count, 6), np.float32), np.empty((count, 9))
    _measure_leaves(axes, ranges, leaves, boxes, moments)
    reaches = np.empty(count, np.float32)
    _measure_cells(ranges, after, boxes, moments, reaches)
    return Tree(order, axes, ranges, after, boxes, moments.astype(np.float32), reaches, leaves)


@numba.njit(inline="always")
def _dilate(x):  # type: ignore[no-untyped-def]
    """Put two zeros between the bits of a number of 21 bits."""
    x = (x | x << 32) & 0x1F00000000FFFF
    x = (x | x << 16) & 0x1F0000FF0000FF
    x = (x | x << 8) & 0x100F00F00F00F00F
    x = (x | x << 4) & 0x10C30C30C30C30C3
    return (x | x << 2) & 0x1249249249249249


@numba.njit(parallel=only_loops(), cache=True)
def _code(Y, low, scale, codes):  # type: ignore[no-untyped-def]
    n, dimensions = Y.shape
    for block in numba.prange((n + _BLOCK - 1) // _BLOCK):
        for i in range(np.int64(block) * _BLOCK, min(n, (np.int64(block) + 1) * _BLOCK)):
            code = np.int64(0)
            for axis in range(dimensions):
                code |= _dilate(np.int64(np.float64(Y[i, axis] - low[axis]) * scale)) << axis
            codes[i] = code


@numba.njit(cache=True)
def _split(codes, ranges, after):  # type: ignore[no-untyped-def]
    """Ranges of cells; where all codes of many points are the same, they are halved as they come."""
    waiting = np.empty((256, 2), np.int64)
    waiting[0] = 0, len(codes)
    height, count = 1, 0
    while height:
        height -= 1
        start, end = waiting[height]
        ranges[count, 0], ranges[count, 1] = start, end
        if end - start > LEAF:
            differ = codes[start] ^ codes[end - 1]
            middle = (start + end) // 2
            if differ:
                bit = np.int64(1)
                while differ > 1:
                    differ >>= 1
                    bit <<= 1
                low, high = start, end - 1
                while high - low > 1:
                    middle = (low + high) // 2
                    if codes[middle] & bit:
                        high = middle
                    else:
                        low = middle
                middle = high
            waiting[height] = middle, end
            waiting[height + 1] = start, middle
            height += 2
        count += 1
    # From the last on: a cell ends where the next cell that begins at its end stands.
    place = np.empty(len(codes) + 1, np.int32)
    place[len(codes)] = count
    for cell in range(count - 1, -1, -1):
        after[cell] = place[ranges[cell, 1]]
        place[ranges[cell, 0]] = cell
    return ranges, after, count


@numba.njit(inline="always")
def _add_products(moment, weight, x, y, z):  # type: ignore[no-untyped-def]
    moment[3] += weight * x * x
    moment[4] += weight * y * y
    moment[5] += weight * z * z
    moment[6] += weight * x * y
    moment[7] += weight * x * z
    moment[8] += weight * y * z


@numba.njit(parallel=only_loops(), cache=True)
def _measure_leaves(axes, ranges, leaves, boxes, moments):  # type: ignore[no-untyped-def]
    for number in numba.prange(len(leaves)):
        cell = leaves[number]
        start, end = ranges[cell]
        moment = moments[cell]
        moment[:] = 0.0
        for axis in range(3):
            low = high = axes[axis, start]
            for place in range(start, end):
                y = axes[axis, place]
                low, high = min(low, y), max(high, y)
                moment[axis] += y
            moment[axis] /= end - start
            boxes[cell, axis], boxes[cell, 3 + axis] = low, high
        for place in range(start, end):
            x, y, z = axes[0, place] - moment[0], axes[1, place] - moment[1], axes[2, place] - moment[2]
            _add_products(moment, 1.0, x, y, z)


@numba.njit(cache=True)
def _measure_cells(ranges, after, boxes, moments, reaches):  # type: ignore[no-untyped-def]
    for cell in range(len(after) - 1, -1, -1):
        first, moment = cell + 1, moments[cell]
        if after[cell] != first:
            second = after[first]
            one, other = moments[first], moments[second]
            share = (ranges[second, 1] - ranges[second, 0]) / (ranges[cell, 1] - ranges[cell, 0])
            x, y, z = other[0] - one[0], other[1] - one[1], other[2] - one[2]
            moment[0], moment[1], moment[2] = one[0] + share * x, one[1] + share * y, one[2] + share * z
            moment[3:] = one[3:] + other[3:]
            _add_products(moment, share * (ranges[first, 1] - ranges[first, 0]), x, y, z)
            for axis in range(3):
                boxes[cell, axis] = min(boxes[first, axis], boxes[second, axis])
                boxes[cell, 3 + axis] = max(boxes[first, 3 + axis], boxes[second, 3 + axis])
        reach = 0.0
        for axis in range(3):
            far = max(moment[axis] - boxes[cell, axis], boxes[cell, 3 + axis] - moment[axis])
            reach += far * far
        reaches[cell] = reach
