"""Assignment among the centres of a few groups a row, with a certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.dispatch import parallel_launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GroupedSearch"]

#: Rows whose distances to all groups are looked at together.
_ROWS = 1 << 16


class GroupedSearch:
    """Nearest centres of ``X`` ``[n, d]`` among those of the ``probes`` nearest groups.

    Parameters
    ----------
    X
        C-contiguous float32 or float64, finite.
    centers
        ``[k, d]``, group by group.
    first
        int64 ``[groups + 1]``: group g is centres ``first[g]`` to ``first[g + 1] - 1``.
    probes
        Groups that each row looks at, those whose mean is nearest.
    """

    def __init__(self, X: NDArray[Any], centers: NDArray[Any], first: NDArray[np.int64], probes: int) -> None:
        self._rows, self._first, self._probes = X, first, probes
        self._centers = centers
        self._candidates: NDArray[np.int32] | None = None

    def step(self, centers: NDArray[Any], labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Labels for ``centers``: never farther than ``labels`` are now."""
        from fastclust_kernels.assign import _dense, _grouped

        self._centers = centers
        frame = _dense.frame_of(centers)
        moved = labels.copy()
        with parallel_launch():
            self._candidates = _grouped.nearest_few(self._rows, self._means(), self._probes, frame)
            _grouped.search(self._rows, centers, self._first, self._candidates, moved, frame)
        return moved

    def certified(self, distances: NDArray[np.float64]) -> float:
        """Share of the rows, ``distances`` ``[n]`` from their centres, to which no group not looked at can be nearer.

        All centres of a group lie within its radius of its mean, so none is nearer than the distance to the mean less
        the radius. Distances to means are rounded: two thousandths of a thousandth of the lengths are allowed for.
        """
        from fastclust_kernels.mahalanobis import pairs

        assert self._candidates is not None
        means = self._means()
        owner = np.repeat(np.arange(len(means)), np.diff(self._first))
        away = np.linalg.norm(self._centers.astype(np.float64) - means[owner], axis=1)
        radius = np.zeros(len(means))
        np.maximum.at(radius, owner, away)
        slack = 2e-6 if self._rows.dtype == np.float32 else 1e-14
        sure = 0
        for start in range(0, len(self._rows), _ROWS):
            block = slice(start, start + _ROWS)
            far = pairs(self._rows[block], means, np.eye(means.shape[1]))[0]
            nearest = far * (1 - slack) - radius
            np.put_along_axis(nearest, self._candidates[block], np.inf, axis=1)
            sure += int((nearest.min(axis=1) > distances[block]).sum())
        return sure / len(self._rows)

    def _means(self) -> NDArray[Any]:
        """The mean of each group's centres; a group without centres is nowhere near."""
        counts = np.diff(self._first)
        owner = np.repeat(np.arange(len(counts)), counts)
        sums = np.zeros((len(counts), self._centers.shape[1]))
        np.add.at(sums, owner, self._centers.astype(np.float64))
        means: NDArray[Any] = (sums / np.maximum(counts, 1)[:, None]).astype(self._rows.dtype)
        return means
