"""Sums of the same rows again and again, for labels of which few change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.dispatch import launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MOST", "SHRUNK", "MovingSums"]

#: A cluster whose sum is this much smaller than it once was is added up anew: what rows that left have left of their
#: rounding must stay far below that of the result.
SHRUNK = 1e-4
#: If more rows than this change their label, all are added up anew: a changed row is read and added twice.
MOST = 0.4


class MovingSums:
    """Sums and weights of clusters, float64, from the rows that changed since the step before.

    The order of additions is fixed by the labels, so that any number of threads gives the same bits. A cluster that
    lost all its rows has sums of exactly zero; one that shrank so much that rounding may show is added up anew.

    Parameters
    ----------
    X
        C-contiguous float32 or float64 ``[n, d]``.
    k
        Number of clusters.
    weights
        float64 ``[n]``, or None for one each.
    """

    def __init__(self, X: NDArray[Any], k: int, weights: NDArray[np.float64] | None) -> None:
        self._rows, self._k, self._weights = X, k, weights
        self._labels: NDArray[np.int32] | None = None
        self._sums = np.zeros((k, X.shape[1]))
        self._total = np.zeros(k)
        self._peak = np.zeros(k)

    def step(self, labels: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Return sums ``[k, d]``, weights ``[k]`` and how many labels differ from the step before; arrays to keep."""
        from fastclust_kernels.update import _numba as kernel

        before = self._labels
        changed = np.arange(len(labels)) if before is None else np.flatnonzero(labels != before)
        with launch():
            if before is not None and 0 < len(changed) <= MOST * len(labels):
                sums, total = kernel.difference(
                    self._rows, changed, before[changed], labels[changed], self._k, self._weights
                )
                self._sums += sums
                self._total += total
                self._clear(labels)
            size = np.abs(self._sums).max(axis=1)
            if before is None or len(changed) > MOST * len(labels) or (size < SHRUNK * self._peak).any():
                self._sums, self._total = kernel.update(self._rows, labels, self._k, self._weights)
                size = self._peak = np.abs(self._sums).max(axis=1)
            self._peak = np.maximum(self._peak, size)
        self._labels = labels.copy()
        return self._sums.copy(), self._total.copy(), len(changed)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What, with the labels, is needed to go on."""
        return {"sums": self._sums, "total": self._total, "peak": self._peak}

    def restore(self, state: dict[str, NDArray[np.float64]], labels: NDArray[np.int32]) -> None:
        """Go on from :meth:`state`, when rows had ``labels``."""
        self._sums, self._total, self._peak = (state[name].copy() for name in ("sums", "total", "peak"))
        self._labels = labels.copy()

    def _clear(self, labels: NDArray[np.int32]) -> None:
        """What is left of a cluster without rows is rounding. Numbers of rows are exact; sums of weights are not."""
        empty = self._total == 0
        if self._weights is not None:
            empty = np.bincount(labels[self._weights > 0], minlength=self._k) == 0
        self._sums[empty] = 0.0
        self._total[empty] = 0.0
