"""Repulsion by a tree, after Barnes and Hut; the points of a leaf share lists of the cells and points around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.tsne._exact import from_others
from fastclust_kernels.tsne._tree import LEAF, tree_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OPENING", "tree_repulsion"]

#: A cell stands for its points where its reach is at most this share of sqrt(1 + d^2) at distance d; README.md, Tree.
OPENING = 0.45
#: Entries of a list that are worked on together; sums are in float32 within, in float64 beyond.
_LIST = 2048


def tree_repulsion(Y: NDArray[np.float32], opening: float = OPENING) -> tuple[NDArray[np.float32], float]:
    """Unnormalised repulsion ``[n, dimensions]``, and Z; its error is what it should be in 3 dimensions."""
    tree = tree_of(Y)
    forces = np.empty((len(Y), 3), np.float32)
    sums = np.empty(len(tree.leaves))
    _walk(*tree, np.float32(opening * opening), forces, sums)
    return np.ascontiguousarray(forces[:, : Y.shape[1]]), float(sums.sum())


@numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"}, error_model="numpy")
def _by_cells(xs, ys, zs, masses, xx, yy, zz, xy, xz, yz, x, y, z):  # type: ignore[no-untyped-def]
    """Taylor's series about a cell's mean, up to the second order; README.md, Tree."""
    one, two, three, four = np.float32(1), np.float32(2), np.float32(3), np.float32(4)
    total, fx, fy, fz = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for j in range(len(xs)):
        dx, dy, dz = x - xs[j], y - ys[j], z - zs[j]
        w = one / (one + dx * dx + dy * dy + dz * dz)
        mx = xx[j] * dx + xy[j] * dy + xz[j] * dz
        my = xy[j] * dx + yy[j] * dy + yz[j] * dz
        mz = xz[j] * dx + yz[j] * dy + zz[j] * dz
        bent = four * w * (mx * dx + my * dy + mz * dz)
        trace = xx[j] + yy[j] + zz[j]
        total += w * (masses[j] + w * (bent - trace))
        squared = w * w
        along, aside = squared * (masses[j] + w * (three * bent - two * trace)), four * w * squared
        fx += along * dx - aside * mx
        fy += along * dy - aside * my
        fz += along * dz - aside * mz
    return total, fx, fy, fz


@numba.njit(cache=True, error_model="numpy")
def _push(points, n_points, cells, n_cells, axes, start, end, found):  # type: ignore[no-untyped-def]
    """Add what the lists do to the points from ``start`` to ``end``."""
    xs, ys, zs = points[0, :n_points], points[1, :n_points], points[2, :n_points]
    cx, cy, cz, masses = cells[0, :n_cells], cells[1, :n_cells], cells[2, :n_cells], cells[9, :n_cells]
    xx, yy, zz = cells[3, :n_cells], cells[4, :n_cells], cells[5, :n_cells]
    xy, xz, yz = cells[6, :n_cells], cells[7, :n_cells], cells[8, :n_cells]
    for i in range(start, end):
        x, y, z = axes[0, i], axes[1, i], axes[2, i]
        t, a, b, c = from_others(xs, ys, zs, x, y, z)
        u, d, e, f = _by_cells(cx, cy, cz, masses, xx, yy, zz, xy, xz, yz, x, y, z)
        found[i - start, 0] += np.float64(t) + u
        found[i - start, 1] += np.float64(a) + d
        found[i - start, 2] += np.float64(b) + e
        found[i - start, 3] += np.float64(c) + f


@numba.njit(parallel=only_loops(), cache=True, error_model="numpy")
def _walk(order, axes, ranges, after, boxes, moments, reaches, leaves, opening, forces, sums):  # type: ignore[no-untyped-def]
    for number in numba.prange(len(leaves)):
        leaf = leaves[number]
        start, end = ranges[leaf]
        points, cells = np.empty((3, _LIST), np.float32), np.empty((10, _LIST), np.float32)
        found = np.zeros((LEAF, 4))
        box = boxes[leaf]
        n_points, n_cells, cell = 0, 0, 0
        while cell < len(after):
            first, last = ranges[cell]
            if first <= start and end <= last:
                # The leaf itself, whose points come below, or what it lies in.
                cell += 1
                continue
            if n_points + LEAF > _LIST or n_cells == _LIST:
                _push(points, n_points, cells, n_cells, axes, start, end, found)
                n_points, n_cells = 0, 0
            distance = np.float32(1)
            for axis in range(3):
                mean = moments[cell, axis]
                apart = max(box[axis] - mean, mean - box[3 + axis], np.float32(0))
                distance += apart * apart
            if reaches[cell] <= opening * distance:
                cells[:9, n_cells] = moments[cell]
                cells[9, n_cells] = last - first
                n_cells += 1
                cell = after[cell]
            elif after[cell] == cell + 1:
                points[:, n_points : n_points + last - first] = axes[:, first:last]
                n_points += last - first
                cell += 1
            else:
                cell += 1
        _push(points, n_points, cells, n_cells, axes, start, end, found)
        # Among the leaf's own points each leaves itself out: 1 added and taken off again would cost Z its digits.
        here = 0.0
        for i in range(end - start):
            place = start + i
            points[:, :i] = axes[:, start:place]
            points[:, i : end - start - 1] = axes[:, place + 1 : end]
            _push(points, end - start - 1, cells, 0, axes, place, place + 1, found[i : i + 1])
            here += found[i, 0]
            for axis in range(3):
                forces[order[place], axis] = found[i, 1 + axis]
        sums[number] = here
