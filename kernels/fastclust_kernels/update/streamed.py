"""Sums of clusters from rows that come block by block: the bits of :class:`MovingSums`, however the blocks are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.dispatch import launch
from fastclust_kernels.update.moving import MOST, SHRUNK

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Carry", "StreamedSums"]


class Carry:
    """Sums that go on from block to block: each cluster's open segment is kept, so that no addition changes places."""

    def __init__(self, k: int, d: int) -> None:
        self._sums, self._total = np.zeros((k, d)), np.zeros(k)
        self._partial, self._partial_total = np.zeros((k, d)), np.zeros(k)
        self._filled = np.zeros(k, np.int64)

    def add(
        self, X: NDArray[Any], rows: NDArray[np.int64] | None, labels: NDArray[np.int32], weights: NDArray[Any] | None
    ) -> None:
        """Add ``rows`` of ``X`` (None: all) to the clusters ``labels``; ``weights`` are those of all rows of ``X``."""
        from fastclust_kernels.update import _numba as kernel

        with launch():
            kernel.carry(
                X, rows, labels, weights, (self._sums, self._total, self._partial, self._partial_total, self._filled)
            )

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums ``[k, d]`` and weights ``[k]`` of all that was added."""
        open_ = self._filled > 0
        sums, total = self._sums.copy(), self._total.copy()
        sums[open_] += self._partial[open_]
        total[open_] += self._partial_total[open_]
        return sums, total


class StreamedSums:
    """What MovingSums returns, for rows of which one block at a time is there.

    A pass is :meth:`begin`, :meth:`add` for each block in order, :meth:`end`. The latter says whether all rows must be
    added up anew, which takes another pass of :meth:`add_all` and :meth:`end_all`, unless that was foreseen.

    Parameters
    ----------
    n, k, d
        Rows, clusters, columns.
    weighted
        Whether rows have weights other than one.
    """

    def __init__(self, n: int, k: int, d: int, *, weighted: bool) -> None:
        self._n, self._k, self._d, self._weighted = n, k, d, weighted
        self._first = True
        self._foreseen = True
        self._changed = 0
        self._sums, self._total, self._peak = np.zeros((k, d)), np.zeros(k), np.zeros(k)

    def begin(self) -> None:
        """Begin a pass."""
        self._changed = 0
        self._all = Carry(self._k, self._d) if self._foreseen else None
        self._gained, self._lost = Carry(self._k, self._d), Carry(self._k, self._d)
        self._counts = np.zeros(self._k, np.int64)

    def add(
        self,
        X: NDArray[Any],
        labels: NDArray[np.int32],
        before: NDArray[np.int32],
        weights: NDArray[np.float64] | None,
    ) -> None:
        """Take a block of rows with their labels now and ``before`` (anything, in the first pass)."""
        if self._weighted:
            assert weights is not None
            self._counts += np.bincount(labels[weights > 0], minlength=self._k)
        changed = np.arange(len(labels)) if self._first else np.flatnonzero(labels != before)
        self._changed += len(changed)
        if self._all is not None:
            self._all.add(X, None, labels, weights)
            if self._changed > MOST * self._n:
                return
        if not self._first and len(changed):
            self._gained.add(X, changed, labels, weights)
            self._lost.add(X, changed, before, weights)

    def end(self) -> bool:
        """Return whether all rows must be added up anew."""
        few = not self._first and self._changed <= MOST * self._n
        if few and self._changed:
            gained, total = self._gained.result()
            lost, gone = self._lost.result()
            self._sums += gained - lost
            self._total += total - gone
            empty = self._counts == 0 if self._weighted else self._total == 0
            self._sums[empty] = 0.0
            self._total[empty] = 0.0
        del self._gained, self._lost
        size = np.abs(self._sums).max(axis=1)
        anew = not few or bool((size < SHRUNK * self._peak).any())
        if not anew:
            self._peak = np.maximum(self._peak, size)
            self._first, self._foreseen, self._all = False, self._changed > MOST / 2 * self._n, None
            return False
        if self._all is not None:
            self.end_all()
            return False
        self._all = Carry(self._k, self._d)
        return True

    def add_all(self, X: NDArray[Any], labels: NDArray[np.int32], weights: NDArray[np.float64] | None) -> None:
        """Take a block of the other pass."""
        assert self._all is not None
        self._all.add(X, None, labels, weights)

    def end_all(self) -> None:
        """End the other pass."""
        assert self._all is not None
        self._sums, self._total = self._all.result()
        self._peak = np.abs(self._sums).max(axis=1)
        self._first, self._foreseen, self._all = False, self._changed > MOST / 2 * self._n, None

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Sums ``[k, d]``, weights ``[k]`` and how many labels changed; arrays to keep."""
        return self._sums.copy(), self._total.copy(), self._changed

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What, with the labels, is needed to go on."""
        return {"sums": self._sums, "total": self._total, "peak": self._peak}

    def restore(self, state: dict[str, NDArray[np.float64]]) -> None:
        """Go on from :meth:`state`."""
        self._sums, self._total, self._peak = (state[name].copy() for name in ("sums", "total", "peak"))
        self._first, self._foreseen = False, False
