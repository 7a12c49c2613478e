"""Greedy k-means++ (Arthur and Vassilvitskii, 2007; greedy as in section 6 there) over rows of an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.assign import greedy_plus_plus

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

__all__ = ["Choice", "greedy_rows", "is_dear", "trials_of"]

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
    choice = Choice(weights, random, trials_of(k))
    choice.extend(X, k)
    return choice.filled(k)


class Choice:
    """Rows chosen so far, by greedy k-means++, among those of ``weights`` ``[n]``; more can follow."""

    def __init__(self, weights: NDArray[np.float64], random: RandomState, trials: int) -> None:
        self._weights, self._random, self._trials = weights, random, min(trials, 16)
        self._nearest = np.full(len(weights), np.inf)
        self.rows = np.empty(0, np.int64)
        #: Whether every row lies on a chosen one, or has no weight.
        self.exhausted = False

    def extend(self, X: NDArray[Any], many: int) -> None:
        """Choose up to ``many`` more rows of ``X`` ``[n, d]``."""
        first = None
        if not len(self.rows):
            first = int(self._random.choice(len(X), p=self._weights / self._weights.sum()))
        draws = self._random.uniform(size=(many if first is None else many - 1, self._trials))
        found = greedy_plus_plus(X, self._weights, first, draws, self._nearest)
        found = found[found >= 0]
        self.exhausted = len(found) < many
        self.rows = np.concatenate([self.rows, found])

    def potential(self) -> float:
        """Weighted sum of squared distances to the nearest chosen row."""
        return float((self._weights * self._nearest).sum())

    def filled(self, k: int) -> NDArray[np.int64]:
        """The chosen rows, and any others up to ``k``."""
        others = np.setdiff1d(np.arange(len(self._weights)), self.rows)
        return np.concatenate([self.rows, others[: k - len(self.rows)]])
