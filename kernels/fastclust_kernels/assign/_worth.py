"""What a step with bounds would cost, from a sample of the rows: Lloyd's steps differ too much to guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from fastclust_kernels.assign._exact import squared
from fastclust_kernels.assign._vectors import PANEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.assign._bounded import Movers
    from fastclust_kernels.assign._bounds import Bounds

__all__ = ["cost_of_step"]

#: How many centres of each part may be scored for every row that is looked at.
_APART = (0, 1, 2, 4)
#: Costs in columns of one row against a group of 16 centres, measured: a row that is looked at, and its columns; a
#: group that is scored for it, and its columns; 16 bounds tightened, and their columns; 16 bounds that fall.
_LOOKED_AT, _LOOKED_AT_COLUMN = 120.0, 0.6
_GROUP, _GROUP_COLUMN = 70.0, 1.3
_TIGHTENED, _TIGHTENED_COLUMN = 40.0, 1.05
_FALLEN = 12.0


def cost_of_step(
    X: NDArray[Any],
    centers: NDArray[Any],
    labels: NDArray[np.int32],
    bounds: Bounds,
    drift: NDArray[np.float32],
    movers: Movers,
    groups: int,
) -> tuple[float, int]:
    """Cost of the next step with bounds as a share of one without, and how many centres to score apart for it.

    ``X`` ``[m, d]``, ``labels`` and ``bounds`` are those of a sample.
    """
    limits = bounds.lower.shape[1]
    parts = limits // groups
    apart = [count for count in _APART if count < len(movers.centers)]
    slow = np.ascontiguousarray(movers.drifts[apart])
    open_rows, visits = _count(X, centers, labels, bounds.upper, bounds.lower, drift, slow, parts)
    d, vectors = X.shape[1], -(-limits // PANEL)
    costs = []
    for number, count in enumerate(apart):
        busy = float((movers.drifts[:count].reshape(-1, limits) > 0).any(axis=1).sum())
        row = _LOOKED_AT + _LOOKED_AT_COLUMN * d + busy * vectors * _TIGHTENED_COLUMN * d
        row += vectors * _TIGHTENED * (count > 0)
        costs.append(vectors * _FALLEN + open_rows * row + visits[number] * (_GROUP + _GROUP_COLUMN * d))
    best = int(np.argmin(costs))
    return costs[best] / (groups * d), apart[best]


@numba.njit(cache=True, nogil=True)
def _count(X, centers, labels, upper, lower, drift, slow, parts):  # type: ignore[no-untyped-def]
    """The share of rows that are looked at, and groups scored a row for each of the ``slow`` drifts."""
    limits = lower.shape[1]
    visits = np.zeros(len(slow))
    open_rows = 0.0
    for i in range(len(X)):
        c = labels[i]
        limit = np.float32(min(np.float64(upper[i]) + drift[c], np.sqrt(squared(X[i], centers[c]))))
        bounds = lower[i]
        for number in range(len(slow)):
            gone = slow[number]
            found = 0
            if parts == 1:
                for part in range(limits):
                    found += bounds[part] - gone[part] <= limit
            else:
                for first in range(0, limits, parts):
                    reached = False
                    for part in range(first, first + parts):
                        reached |= bounds[part] - gone[part] <= limit
                    found += reached
            visits[number] += found
            if number == 0:
                open_rows += found > 0
    return open_rows / len(X), visits / len(X)
