"""Greedy k-means++ (Arthur and Vassilvitskii, 2007; greedy as in section 6 there) over rows of an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.assign import greedy_plus_plus

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

__all__ = ["greedy_rows", "is_dear", "trials_of"]

#: Multiply-adds that take a fraction of a second.
_DEAR = 2e9


def trials_of(k: int) -> int:
    """Rows of which each centre is the best."""
    return 2 + int(np.log(k))


def is_dear(shape: tuple[int, int], k: int) -> bool:
    """Whether it takes more than a fraction of a second."""
    n, d = shape
    return float(n) * d * k * trials_of(k) > _DEAR


def greedy_rows(X: NDArray[Any], k: int, weights: NDArray[np.float64], random: RandomState) -> NDArray[np.int64]:
    """Numbers of k different rows by greedy k-means++; any rows once all lie on chosen ones."""
    first = int(random.choice(len(X), p=weights / weights.sum()))
    draws = random.uniform(size=(k - 1, min(trials_of(k), 16)))
    chosen = greedy_plus_plus(X, weights, first, draws)
    left = chosen < 0
    if left.any():
        others = np.setdiff1d(np.arange(len(X)), chosen[~left])
        chosen[left] = others[: int(left.sum())]
    return chosen
