"""Convolution of a real grid with three kernels: 16 columns, then 16 rows, then columns again, all in the cache.

Down the columns, two real ones are transformed as one complex. What lies between the two directions is kept in strips
of 16 frequencies, so that the second direction works on whole vectors too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.tsne._butterflies import LANES
from fastclust_kernels.tsne._plan import back, plan_of, there
from fastclust_kernels.tsne._tiles import flip, join, split, weigh

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Convolution", "Kernels"]


class Kernels(NamedTuple):
    """Three kernels on a periodic grid."""

    lengths: tuple[int, int]
    #: float32 [strips, lengths[1] / 2 + 1, 3, 16]: frequencies of the first direction along the last axis.
    strips: NDArray[np.float32]

    @classmethod
    def of(
        cls, lengths: tuple[int, int], potential: NDArray[Any], across: NDArray[Any], along: NDArray[Any]
    ) -> Kernels:
        """From transforms at non-negative frequencies ``[lengths[0]/2+1, lengths[1]/2+1]``.

        ``potential``'s is even; ``across`` and ``along`` are without their factor of i, odd in the first and in the
        second direction.
        """
        strips = -(-len(potential) // LANES)
        filled = np.zeros((potential.shape[1], 3, strips * LANES), np.float32)
        size = lengths[0] * lengths[1]
        # Columns are doubled as they are split, and a transform there and back multiplies by the length.
        for place, (kernel, factor) in enumerate(((potential, 0.25), (across, 0.5), (along, 0.5))):
            filled[:, place, : len(kernel)] = kernel.T * (factor / size)
        return cls(lengths, np.ascontiguousarray(filled.reshape(-1, 3, strips, LANES).transpose(2, 0, 1, 3)))


class Convolution:
    """Convolves grids with the same kernels; keeps its buffers, 14 bytes for each point of the padded grid."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._plans = tuple(plan_of(length) for length in kernels.lengths)
        rows, columns = kernels.lengths[0] // 2, _padded(kernels.lengths[1] // 2)
        self._grid = np.empty(rows * columns, np.float32)
        self._between = np.empty(len(kernels.strips) * columns * 2 * LANES, np.float32)
        self._after = np.empty(len(kernels.strips) * columns * 4 * LANES, np.float32)
        self._fields = np.empty(2 * rows * columns, np.float32)

    def empty(self, rows: int, columns: int) -> NDArray[np.float32]:
        """Zeros ``[rows, columns or some more]`` to put charges on; the next call takes the same memory."""
        grid = self._grid[: rows * _padded(columns)].reshape(rows, -1)
        grid[:] = 0
        return grid

    def __call__(self, grid: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """Fields of the second and the third kernel, and the charges' energy in the first one's.

        ``grid`` is from :meth:`empty`, with at most half as many rows and columns as the kernels' lengths. The fields
        are of its shape, and are the caller's until the next call.
        """
        rows, columns = grid.shape
        strips = len(self._kernels.strips)
        between = self._between[: strips * columns * 2 * LANES].reshape(strips, columns * 2, LANES)
        after = self._after[: strips * columns * 4 * LANES].reshape(strips, columns * 4, LANES)
        fields = self._fields[: 2 * rows * columns].reshape(2, rows, columns)
        energy = np.empty(strips)
        first, second = self._plans
        threads = numba.get_num_threads()
        _down(grid, *first, between, threads)
        _along(between, *second, self._kernels.strips, self._kernels.lengths[0] // 2, after, energy, threads)
        _up(after, *first, fields, threads)
        return fields[0], fields[1], float(energy.sum())


def _padded(columns: int) -> int:
    """Columns are worked on 32 together."""
    return -(-columns // (2 * LANES)) * 2 * LANES


@numba.njit(parallel=only_loops(), cache=True)
def _down(grid, passes, turns, frequency, place, between, threads):  # type: ignore[no-untyped-def]
    """Transform columns, and put frequencies 0 to n / 2 of each in strips."""
    rows, columns = grid.shape
    n, strips = len(place), len(between)
    blocks = columns // (2 * LANES)
    for thread in numba.prange(threads):
        planes, tile = np.empty((2, n, LANES), np.float32), np.empty((4, LANES, LANES), np.float32)
        for block in range(thread, blocks, threads):
            column = block * 2 * LANES
            for row in range(rows):
                for part in range(2):
                    planes[part, row] = grid[row, column + part * LANES : column + (part + 1) * LANES]
            planes[:, rows : n // 2] = 0
            there(planes, passes, turns)
            for strip in range(strips):
                for lane in range(LANES):
                    k = min(strip * LANES + lane, n // 2)
                    split(planes, place[k], place[(n - k) % n], tile, lane)
                for part in range(4):
                    at = (column + part // 2 * LANES) * 2 + part % 2
                    flip(tile, part, 0, 1, between, strip, at, 2)


@numba.njit(parallel=only_loops(), cache=True)
def _along(between, passes, turns, frequency, place, kernels, half, after, energy, threads):  # type: ignore[no-untyped-def]
    """Transform rows, weigh, and transform back."""
    strips, columns = len(between), between.shape[1] // 2
    n = len(place)
    for thread in numba.prange(threads):
        planes, other = np.empty((2, n, LANES), np.float32), np.empty((2, n, LANES), np.float32)
        sums = np.empty((1, LANES))
        for strip in range(thread, strips, threads):
            some = min(columns, n // 2)
            for column in range(some):
                planes[0, column] = between[strip, 2 * column]
                planes[1, column] = between[strip, 2 * column + 1]
            planes[:, some : n // 2] = 0
            there(planes, passes, turns)
            sums[:] = 0
            for row in range(n):
                k = frequency[row]
                mirrored = min(k, n - k)
                sign = np.float32(1) if k == mirrored else np.float32(-1)
                weigh(planes, other, row, kernels[strip], mirrored, sign, sums)
            total = 0.0
            for lane in range(LANES):
                # Frequencies between the first and the last stand for their negatives too.
                total += sums[0, lane] * (1.0 if strip * LANES + lane in (0, half) else 2.0)
            energy[strip] = total
            back(planes, passes, turns)
            back(other, passes, turns)
            for column in range(some):
                after[strip, 4 * column] = planes[0, column]
                after[strip, 4 * column + 1] = planes[1, column]
                after[strip, 4 * column + 2] = other[0, column]
                after[strip, 4 * column + 3] = other[1, column]
            after[strip, 4 * some :] = 0


@numba.njit(parallel=only_loops(), cache=True)
def _up(after, passes, turns, frequency, place, fields, threads):  # type: ignore[no-untyped-def]
    """Transform columns back: the first field is the real part, the second the imaginary one."""
    rows = fields.shape[1]
    n, strips = len(place), len(after)
    blocks = fields.shape[2] // LANES
    for thread in numba.prange(threads):
        planes, tile = np.empty((2, n, LANES), np.float32), np.empty((4, LANES, LANES), np.float32)
        for block in range(thread, blocks, threads):
            column = block * LANES
            for strip in range(strips):
                for part in range(4):
                    flip(after, strip, 4 * column + part, 4, tile, part, 0, 1)
                for lane in range(min(LANES, n // 2 + 1 - strip * LANES)):
                    k = strip * LANES + lane
                    join(tile, lane, planes, place[k], place[(n - k) % n])
            back(planes, passes, turns)
            for row in range(rows):
                fields[0, row, column : column + LANES] = planes[0, row]
                fields[1, row, column : column + LANES] = planes[1, row]
