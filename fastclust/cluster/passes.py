"""Passes of two-level k-means over rows that stay in their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.cluster.chunks import chunk_sums, total
from fastclust.errors import InputError
from fastclust_kernels.assign.candidates import CandidateSearch
from fastclust_kernels.update.streamed import StreamedSums

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust.cluster.streaming import StreamedRows
    from fastclust_kernels.assign._candidates import Cells

__all__ = ["Passes", "sample_of"]

#: Rows a cluster that a sample should have, and must have.
_WANTED, _LEAST = 256, 8


def sample_of(rows: StreamedRows, k: int, random: RandomState) -> NDArray[np.int64]:
    """Numbers of distinct rows to begin on, rising: 256 a cluster, or what memory holds. Raises InputError."""
    n = rows.shape[0]
    # A sample is there as it was taken, once more in the order of its cells, and with bounds.
    room = rows.memory // 4 // (rows.shape[1] * rows.dtype.itemsize)
    size = min(n, _WANTED * k, room)
    if size < min(n, _LEAST * k):
        needed = 4 * min(n, _LEAST * k) * rows.shape[1] * rows.dtype.itemsize
        raise InputError("memory", rows.memory, f"at least {needed} bytes, for a sample of {_LEAST} rows a cluster")
    if size == n:
        return np.arange(n)
    # Of each of as many stretches one row, so that nothing of the length of the rows is needed.
    edges = np.linspace(0, n, size + 1).astype(np.int64)
    drawn: NDArray[np.int64] = edges[:-1] + (random.uniform(size=size) * np.diff(edges)).astype(np.int64)
    return drawn


class Passes:
    """Labels among the centres of the nearest cells, and sums, block by block.

    Attributes
    ----------
    labels
        int32 ``[n]``.
    """

    def __init__(self, rows: StreamedRows, weights: NDArray[np.float64] | None, k: int) -> None:
        self._rows, self._weights = rows, weights
        self._known = False
        self.labels = rows.array(np.int32)
        self._sums = StreamedSums(rows.shape[0], k, rows.shape[1], weighted=weights is not None)

    def step(
        self, centers: NDArray[Any], cells: Cells, probes: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Sums ``[k, d]``, weights ``[k]`` and how many labels changed, for labels in the nearest cells of centres."""
        self._sums.begin()
        for start, X in self._rows.blocks("pass"):
            here = slice(start, start + len(X))
            labels = CandidateSearch(X).search(centers, cells, probes, self.labels[here] if self._known else None)
            self._sums.add(X, labels, self.labels[here], self._of(here))
            self.labels[here] = labels
        self._known = True
        if self._sums.end():
            for start, X in self._rows.blocks("sums"):
                here = slice(start, start + len(X))
                self._sums.add_all(X, self.labels[here], self._of(here))
            self._sums.end_all()
        return self._sums.result()

    def finish(self, centers: NDArray[Any], cells: Cells, probes: int) -> tuple[float, float]:
        """Find the last labels; return the inertia and the share of the rows whose label is certain."""
        sums: list[float] = []
        sure = 0.0
        for start, X in self._rows.blocks("pass"):
            here = slice(start, start + len(X))
            before = self.labels[here] if self._known else None
            labels, distances, share = CandidateSearch(X).finish(centers, cells, probes, before)
            self.labels[here] = labels
            sure += share * len(X)
            weights = self._of(here)
            sums += chunk_sums(distances if weights is None else distances * weights)
        return total(sums), sure / self._rows.shape[0]

    def _of(self, here: slice) -> NDArray[np.float64] | None:
        return None if self._weights is None else self._weights[here]
