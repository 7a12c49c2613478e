"""One step of gradient descent with momentum and gains (Jacobs, 1988; van der Maaten and Hinton, 2008)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.dispatch import parallel_launch
from fastclust_kernels.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["descend", "shift"]

_ROWS = 4096


def descend(
    Y: NDArray[np.float32],
    update: NDArray[np.float32],
    gains: NDArray[np.float32],
    attraction: NDArray[np.float32],
    repulsion: NDArray[np.float32],
    *,
    exaggeration: float,
    normalization: float,
    learning_rate: float,
    momentum: float,
    min_gain: float = 0.01,
    max_step: float = 5.0,
) -> NDArray[np.float64]:
    """Move ``Y`` ``[n, dimensions]`` along ``repulsion / normalization - exaggeration * attraction``, in place.

    ``update`` and ``gains`` are of the same shape and move too. A gain grows by 0.2 where the gradient turned against
    the last update and shrinks to 0.8 of itself plus ``min_gain`` where it did not; a step longer than ``max_step`` is
    cut to it. Returns the sum of the points that result, ``[dimensions]``. What moves must be C-contiguous: InputError.
    """
    sums = np.zeros(((len(Y) + _ROWS - 1) // _ROWS, Y.shape[1]))
    numbers = np.array(
        [exaggeration, 1 / normalization if normalization > 0 else 0.0, learning_rate, momentum, min_gain, max_step],
        np.float32,
    )
    moved = [_flat(each) for each in (Y, update, gains)]
    with parallel_launch():
        _descend(*moved, attraction.reshape(-1), repulsion.reshape(-1), Y.shape[1], numbers, sums)  # type: ignore[call-arg]
    total: NDArray[np.float64] = sums.sum(axis=0)
    return total


def shift(Y: NDArray[np.float32], by: NDArray[np.float32]) -> None:
    """Take ``by`` ``[dimensions]`` off all points ``Y`` ``[n, dimensions]``, in place. Raises InputError as above."""
    flat = _flat(Y)
    with parallel_launch():
        _shift(flat, by)


def _flat(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same memory in one row, never a copy of it."""
    if not array.flags.c_contiguous:
        raise InputError("Y", f"strides {array.strides}", "C-contiguous arrays, which are changed in place")
    return array.reshape(-1)


@numba.njit(parallel=only_loops(), cache=True, error_model="numpy")
def _descend(Y, update, gains, attraction, repulsion, dimensions, numbers, sums):  # type: ignore[no-untyped-def]
    exaggeration, inverse, rate, momentum, least, longest = numbers
    size = _ROWS * dimensions
    for block in numba.prange(len(sums)):
        start, end = np.int64(block) * size, min(len(Y), (np.int64(block) + 1) * size)
        # Number by number, whole vectors at once; whose numbers they are matters to the length of a step only.
        for at in range(start, end):
            gradient = exaggeration * attraction[at] - inverse * repulsion[at]
            last = update[at]
            same = ((last > 0) == (gradient > 0)) & ((last < 0) == (gradient < 0))
            gain = gains[at] * np.float32(0.8) + least if same else gains[at] + np.float32(0.2)
            gains[at] = gain
            update[at] = momentum * last - rate * gain * gradient
        for at in range(start, end, dimensions):
            squared = np.float32(0)
            for c in range(dimensions):
                squared += update[at + c] * update[at + c]
            if squared > longest * longest:
                shorter = longest / np.sqrt(squared)
                for c in range(dimensions):
                    update[at + c] *= shorter
        for at in range(start, end):
            Y[at] += update[at]
        for c in range(dimensions):
            total = 0.0
            for at in range(start + c, end, dimensions):
                total += Y[at]
            sums[block, c] = total


@numba.njit(parallel=only_loops(), cache=True)
def _shift(Y, by):  # type: ignore[no-untyped-def]
    dimensions = len(by)
    size = _ROWS * dimensions
    for block in numba.prange((len(Y) + size - 1) // size):
        start, end = np.int64(block) * size, min(len(Y), (np.int64(block) + 1) * size)
        for c in range(dimensions):
            for at in range(start + c, end, dimensions):  # type: ignore[call-overload]
                Y[at] -= by[c]
