"""Sums over rows in chunks of one length, so that rows in memory and rows in blocks give the same bits."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.dispatch import threads_given

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["CHUNK", "Spread", "chunk_sums", "farthest", "occupied", "total", "which_occupied"]

#: Rows of a chunk; blocks of rows hold a whole number of them.
CHUNK = 4096


def chunk_sums(values: NDArray[np.float64]) -> list[float]:
    """The sum of each chunk; ``math.fsum`` of them is the total."""
    return [float(values[start : start + CHUNK].sum()) for start in range(0, len(values), CHUNK)]


class Spread:
    """Mean and squared deviations of columns, merged chunk by chunk (Chan, Golub and LeVeque, 1983)."""

    def __init__(self, d: int) -> None:
        self._n = 0
        self._mean, self._squares = np.zeros(d), np.zeros(d)

    def add(self, X: NDArray[Any]) -> None:
        """Take rows, a whole number of chunks unless they are the last."""
        parts = [X[start : start + CHUNK] for start in range(0, len(X), CHUNK)]
        if len(parts) == 1:
            self.merge([_moments(parts[0])])
            return
        with ThreadPoolExecutor(threads_given()) as pool:
            self.merge(pool.map(_moments, parts))

    def moments(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """How many rows came, their mean and their squared deviations."""
        return self._n, self._mean, self._squares

    def merge(self, parts: Iterable[tuple[int, NDArray[np.float64], NDArray[np.float64]]]) -> None:
        """Take the moments of rows that come next."""
        for n, mean, squares in parts:
            total = self._n + n
            away = mean - self._mean
            self._squares += squares + away * away * (self._n * n / total)
            self._mean = self._mean + away * (n / total)
            self._n = total

    def variance(self) -> float:
        """Mean variance of the columns."""
        return float(self._squares.mean() / self._n)


def _moments(X: NDArray[Any]) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    wide = X.astype(np.float64)
    mean = wide.mean(axis=0)
    wide -= mean
    return len(X), mean, np.einsum("ij,ij->j", wide, wide)


def farthest(distances: NDArray[np.float64], weights: NDArray[np.float64] | None, most: int) -> NDArray[np.int64]:
    """Numbers of at most ``most`` rows by distance, falling, then by number; those of distance or weight 0 left out."""
    best, far = np.empty(0, np.int64), np.empty(0)
    step = 256 * CHUNK
    for start in range(0, len(distances), step):
        here = np.array(distances[start : start + step])
        if weights is not None:
            here[weights[start : start + step] == 0] = 0.0
        some = np.flatnonzero(here)
        if len(some) > most:
            least = np.partition(here[some], len(some) - most)[len(some) - most]
            some = some[here[some] >= least]
        best, far = np.concatenate([best, some + start]), np.concatenate([far, here[some]])
        order = np.lexsort((best, -far))[:most]
        best, far = best[order], far[order]
    return best


def occupied(labels: NDArray[np.int32], k: int) -> int:
    """How many clusters have rows."""
    return int(which_occupied(labels, k).sum())


def which_occupied(labels: NDArray[np.int32], k: int) -> NDArray[np.bool_]:
    """Whether each cluster ``[k]`` has rows."""
    found = np.zeros(k, bool)
    for start in range(0, len(labels), 256 * CHUNK):
        found[labels[start : start + 256 * CHUNK]] = True
    return found


def total(sums: list[float]) -> float:
    """The total of chunk sums, rounded once."""
    return math.fsum(sums)
