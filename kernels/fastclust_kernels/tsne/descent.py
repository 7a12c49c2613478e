"""One step of gradient descent with momentum and gains (Jacobs, 1988; van der Maaten and Hinton, 2008)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from fastclust_kernels._loops import only_loops
from fastclust_kernels.dispatch import parallel_launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["descend"]

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
    cut to it. Returns the sum of the points that result, ``[dimensions]``.
    """
    sums = np.zeros(((len(Y) + _ROWS - 1) // _ROWS, Y.shape[1]))
    numbers = np.array(
        [exaggeration, 1 / normalization if normalization > 0 else 0.0, learning_rate, momentum, min_gain, max_step],
        np.float32,
    )
    with parallel_launch():
        _descend(Y, update, gains, attraction, repulsion, numbers, sums)
    total: NDArray[np.float64] = sums.sum(axis=0)
    return total


@numba.njit(parallel=only_loops(), cache=True, error_model="numpy")
def _descend(Y, update, gains, attraction, repulsion, numbers, sums):  # type: ignore[no-untyped-def]
    n, dimensions = Y.shape
    exaggeration, inverse, rate, momentum, least, longest = numbers
    for block in numba.prange(len(sums)):
        for i in range(np.int64(block) * _ROWS, min(n, (np.int64(block) + 1) * _ROWS)):
            squared = np.float32(0)
            for c in range(dimensions):
                gradient = exaggeration * attraction[i, c] - inverse * repulsion[i, c]
                if np.sign(update[i, c]) != np.sign(gradient):
                    gains[i, c] += np.float32(0.2)
                else:
                    gains[i, c] = gains[i, c] * np.float32(0.8) + least
                update[i, c] = momentum * update[i, c] - rate * gains[i, c] * gradient
                squared += update[i, c] * update[i, c]
            if squared > longest * longest:
                shorter = longest / np.sqrt(squared)
                for c in range(dimensions):
                    update[i, c] *= shorter
            for c in range(dimensions):
                Y[i, c] += update[i, c]
                sums[block, c] += Y[i, c]
