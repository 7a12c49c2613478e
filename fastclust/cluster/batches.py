"""Batches of rows for k-means: drawn anywhere from rows in memory, from a changing pool where rows lie in files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastclust.cluster.rows import DenseRows
from fastclust.cluster.streaming import StreamedRows

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust.cluster.rows import Rows

__all__ = ["Batches"]

#: Spans that a pool holds at least, so that a batch comes from all over the rows: stretches that are decoded whole,
#: and stretches of our own choice, which have this many bytes at most.
_UNITS, _STRETCHES, _BYTES = 16, 256, 1 << 16


class Batches:
    """Batches of ``size`` rows, each with weights.

    In memory, rows are drawn with a chance proportional to their weight and count one each. Files are read in spans, in
    an order drawn anew each time that all were read: a pool of spans, as large as memory allows, from which as many
    rows are drawn as it has; they count by their weight.
    """

    def __init__(self, rows: Rows, weights: NDArray[np.float64] | None, size: int, random: RandomState) -> None:
        self._rows, self._weights, self._size, self._random = rows, weights, size, random
        self._unit = np.ones(size)
        if isinstance(rows, StreamedRows):
            self._spans, self._many = _spans(rows)
            self._order = np.empty(0, np.int64)
            self._left = 0
        else:
            each = np.ones(rows.shape[0]) if weights is None else weights
            self._chance = each / each.sum()

    def next(self) -> tuple[Rows, NDArray[np.float64]]:
        """Return a batch and the weights of its rows."""
        if not isinstance(self._rows, StreamedRows):
            picked = self._random.choice(self._rows.shape[0], self._size, p=self._chance)
            return self._rows.some(picked), self._unit
        if self._left < self._size:
            self._refill(self._rows)
        self._left -= self._size
        picked = self._random.randint(0, len(self._numbers), self._size)
        unit = self._unit if self._weights is None else self._weights[self._numbers[picked]]
        return DenseRows(self._pool[picked]), unit

    def _refill(self, rows: StreamedRows) -> None:
        if not len(self._order):
            self._order = self._random.permutation(len(self._spans))
        chosen, self._order = np.sort(self._order[: self._many]), self._order[self._many :]
        self._numbers = np.concatenate([np.arange(*self._spans[span]) for span in chosen])
        self._pool = np.empty((0, rows.shape[1]), rows.dtype)
        self._pool = rows.take(self._numbers)
        # A pool of less than a batch gives one batch all the same.
        self._left = max(len(self._numbers), self._size)


def _spans(rows: StreamedRows) -> tuple[NDArray[np.int64], int]:
    """Spans ``[m, 2]`` of rows, and how many a pool may hold: what is decoded at once where it is small enough."""
    n, row_bytes = rows.shape[0], rows.shape[1] * rows.dtype.itemsize
    # Taken rows are there twice for a moment: as they lie in the file and as they are in the space.
    room = max(_STRETCHES, rows.memory // 4 // row_bytes)
    edges = rows.matrix.edges()
    if len(edges) <= 2 or np.diff(edges).max() * _UNITS > room:
        edges = np.append(np.arange(0, n, max(1, min(_BYTES // row_bytes, room // _STRETCHES))), n)
    spans = np.stack([edges[:-1], edges[1:]], axis=1)
    return spans[spans[:, 1] > spans[:, 0]], max(1, int(room // np.diff(edges).max()))
