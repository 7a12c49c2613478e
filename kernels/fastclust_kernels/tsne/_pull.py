"""Affinities in compressed rows, and attraction along them in space: each row has one order, whoever takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from fastclust_kernels._loops import only_loops

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Affinities", "entropy", "pull", "reordered", "spread_cost"]

#: Rows of a task.
_ROWS = 256
#: Entries of a task that goes through all of them.
_ENTRIES = 65_536
_FAST = {"contract", "reassoc", "nsz", "arcp"}


class Affinities(NamedTuple):
    """A symmetric matrix P in compressed rows, with the narrowest types; unsigned, for signs of indices cost time."""

    #: uint64 [n + 1], uint32 [nonzeros], float32 [nonzeros]
    pointers: NDArray[np.uint64]
    indices: NDArray[np.uint32]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, P: Any) -> Affinities:
        """From a SciPy CSR matrix."""
        indices = P.indices.view(np.uint32) if P.indices.dtype == np.int32 else P.indices.astype(np.uint32)
        return cls(P.indptr.astype(np.uint64), indices, P.data.astype(np.float32, copy=False))

    @property
    def n_rows(self) -> int:
        """Number of points."""
        return len(self.pointers) - 1


def pull(P: Affinities, Y: NDArray[np.float32]) -> NDArray[np.float32]:
    """``sum_j p_ij w_ij (y_i - y_j)`` ``[n, 3]``."""
    forces = np.empty_like(Y)
    _pull(*P, Y, forces)
    return forces


def entropy(P: Affinities) -> tuple[float, float]:
    """``sum p`` and ``sum p log p``, in float64."""
    sums = np.empty((2, -(-len(P.values) // _ENTRIES)))
    _entropy(P.values, sums)
    return float(sums[0].sum()), float(sums[1].sum())


def spread_cost(P: Affinities, Y: NDArray[np.float32]) -> float:
    """``sum p_ij log(1 + |y_i - y_j|^2)``, in float64."""
    sums = np.empty((P.n_rows + _ROWS - 1) // _ROWS)
    _cost(*P, Y, sums)
    return float(sums.sum())


def reordered(P: Affinities, order: NDArray[np.int32]) -> Affinities:
    """Rows and columns in another order: row i of the result is row ``order[i]``; within a row the order stays."""
    lengths = np.diff(P.pointers)[order]
    pointers = np.zeros_like(P.pointers)
    np.cumsum(lengths, out=pointers[1:])
    place = np.empty(len(order), np.uint32)
    place[order] = np.arange(len(order), dtype=np.uint32)
    indices, values = np.empty_like(P.indices), np.empty_like(P.values)
    _reorder(*P, order, place, pointers, indices, values)
    return Affinities(pointers, indices, values)


@numba.njit(parallel=only_loops(), cache=True, fastmath=_FAST, error_model="numpy")
def _pull(pointers, indices, values, Y, forces):  # type: ignore[no-untyped-def]
    one = np.float32(1)
    for i in numba.prange(len(Y)):
        x, y, z = Y[i, 0], Y[i, 1], Y[i, 2]
        fx, fy, fz = np.float32(0), np.float32(0), np.float32(0)
        for k in range(pointers[i], pointers[i + 1]):
            j = indices[k]
            dx, dy, dz = x - Y[j, 0], y - Y[j, 1], z - Y[j, 2]
            w = values[k] / (one + dx * dx + dy * dy + dz * dz)
            fx += w * dx
            fy += w * dy
            fz += w * dz
        forces[i, 0] = fx
        forces[i, 1] = fy
        forces[i, 2] = fz


@numba.njit(parallel=only_loops(), cache=True, error_model="numpy")
def _entropy(values, sums):  # type: ignore[no-untyped-def]
    for block in numba.prange(sums.shape[1]):
        mass, total = 0.0, 0.0
        for k in range(np.int64(block) * _ENTRIES, min(len(values), (np.int64(block) + 1) * _ENTRIES)):  # type: ignore[call-overload]
            p = np.float64(values[k])
            if p > 0:
                mass += p
                total += p * np.log(p)
        sums[0, block], sums[1, block] = mass, total


@numba.njit(parallel=only_loops(), cache=True, error_model="numpy")
def _cost(pointers, indices, values, Y, sums):  # type: ignore[no-untyped-def]
    n, dimensions = Y.shape
    for block in numba.prange(len(sums)):
        total = 0.0
        for i in range(np.int64(block) * _ROWS, min(n, (np.int64(block) + 1) * _ROWS)):
            for k in range(pointers[i], pointers[i + 1]):
                squared = 0.0
                for c in range(dimensions):
                    apart = np.float64(Y[i, c]) - np.float64(Y[indices[k], c])
                    squared += apart * apart
                total += values[k] * np.log1p(squared)
        sums[block] = total


@numba.njit(parallel=only_loops(), cache=True)
def _reorder(pointers, indices, values, order, place, new_pointers, new_indices, new_values):  # type: ignore[no-untyped-def]
    for i in numba.prange(len(order)):
        start, end = pointers[order[i]], pointers[order[i] + 1]
        target = new_pointers[i]
        for k in range(end - start):
            new_indices[target + k] = place[indices[start + k]]
            new_values[target + k] = values[start + k]
