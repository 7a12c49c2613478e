"""Repulsion by all pairs, in float32: for few points, for three dimensions, and where a grid would cost more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels._loops import only_loops

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["all_pairs", "from_others"]

#: Rows that one task takes; partial sums of Z are added in this order, whatever the threads.
_ROWS = 32
#: Others that are summed in float32 before the sum moves to float64.
_OTHERS = 4096


def all_pairs(Y: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Unnormalised repulsion ``[n, dimensions]`` of 1 to 3 dimensions, and Z."""
    n, dimensions = Y.shape
    axes = np.zeros((3, n), np.float32)
    axes[:dimensions] = Y.T
    forces = np.empty((n, 3), np.float32)
    sums = np.empty((n + _ROWS - 1) // _ROWS)
    _all_pairs(axes[0], axes[1], axes[2], forces, sums)
    return np.ascontiguousarray(forces[:, :dimensions]), float(sums.sum())


@numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"}, error_model="numpy")
def from_others(xs, ys, zs, x, y, z):  # type: ignore[no-untyped-def]
    """What others add to Z and to the force on the point (x, y, z), in float32."""
    one = np.float32(1)
    total, fx, fy, fz = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for j in range(len(xs)):
        dx, dy, dz = x - xs[j], y - ys[j], z - zs[j]
        w = one / (one + dx * dx + dy * dy + dz * dz)
        total += w
        w *= w
        fx += w * dx
        fy += w * dy
        fz += w * dz
    return total, fx, fy, fz


@numba.njit(parallel=only_loops(), cache=True)
def _all_pairs(xs: Any, ys: Any, zs: Any, forces: Any, sums: Any):  # type: ignore[no-untyped-def]
    n = len(xs)
    for block in numba.prange(len(sums)):
        here = 0.0
        for i in range(block * _ROWS, min(n, (block + 1) * _ROWS)):
            fx, fy, fz = 0.0, 0.0, 0.0
            # The point itself stands between two parts: 1 added and taken off again would cost Z its digits.
            for part in range(2):
                start, end = (0, i) if part == 0 else (i + 1, n)
                for first in range(start, end, _OTHERS):
                    part_of = slice(first, min(end, first + _OTHERS))
                    t, a, b, c = from_others(xs[part_of], ys[part_of], zs[part_of], xs[i], ys[i], zs[i])
                    here += t
                    fx += a
                    fy += b
                    fz += c
            forces[i, 0] = fx
            forces[i, 1] = fy
            forces[i, 2] = fz
        sums[block] = here
