"""Assignment among a few candidates a row, found by cells of centres, with a certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.arrays import writable
from fastclust_kernels.dispatch import parallel_launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.assign._candidates import Cells

__all__ = ["CandidateSearch", "cells_of"]


class CandidateSearch:
    """Nearest centres of ``X`` ``[n, d]``, C-contiguous float32 or float64 and finite, among candidates.

    :meth:`search` looks at all centres of the ``probes`` cells whose means are nearest to a row, and keeps as the row's
    16 candidates the best centre in each lane of the vectors: the nearest one is among them, and most of those that
    follow. :meth:`step` looks at the candidates only, for as long as the centres move little.
    """

    def __init__(self, X: NDArray[Any]) -> None:
        self._rows = writable(X)
        self._lists: NDArray[np.int32] | None = None

    def search(
        self,
        centers: NDArray[Any],
        cells: Cells,
        probes: int,
        labels: NDArray[np.int32] | None = None,
    ) -> NDArray[np.int32]:
        """Labels ``[n]`` for ``centers`` ``[k, d]``: the nearest in the cells looked at, or ``labels`` if nearer.

        Parameters
        ----------
        cells
            The same centres cell by cell: :func:`cells_of`.
        probes
            Cells that each row looks at.
        labels
            int32 ``[n]``: where each row is now.
        """
        return self._search(centers, cells, probes, labels, None)

    def finish(
        self,
        centers: NDArray[Any],
        cells: Cells,
        probes: int,
        labels: NDArray[np.int32] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float64], float]:
        """Search once more, and tell what is certain.

        All centres of a cell lie within its radius of its mean, so none is nearer than the distance to the mean less
        the radius. Where that leaves the cells looked at only, and rounding might have decided among their centres,
        the row is assigned among all centres again.

        Returns
        -------
        tuple
            Labels int32 ``[n]``, squared distances float64 ``[n]``, and the share of the rows whose label is certainly
            that of the nearest centre.
        """
        from fastclust_kernels.assign import _certificates, assign, distances_to_own

        hidden = np.empty(len(self._rows), self._rows.dtype)
        found = self._search(centers, cells, probes, labels, hidden)
        squared = distances_to_own(self._rows, centers, found)
        distances = np.sqrt(squared)
        away = np.linalg.norm(centers.astype(np.float64) - cells.means[cells.cell], axis=1)
        radius = np.zeros(len(cells.means))
        np.maximum.at(radius, cells.cell, away)
        with parallel_launch():
            if probes >= len(radius):
                sure = np.ones(len(self._rows), np.bool_)
            else:
                sure = _certificates.apart(self._rows, cells, radius, probes, distances)
            doubtful = np.flatnonzero(sure & ~_certificates.settled(self._rows, centers, cells, hidden, distances))
        if len(doubtful):
            again = assign(self._rows[doubtful], centers, check_finite=False)
            found[doubtful], squared[doubtful] = again.labels, again.distances
        return found, squared, float(np.count_nonzero(sure)) / len(self._rows)

    def _search(
        self,
        centers: NDArray[Any],
        cells: Cells,
        probes: int,
        labels: NDArray[np.int32] | None,
        hidden: NDArray[Any] | None,
    ) -> NDArray[np.int32]:
        from fastclust_kernels.assign import _candidates, assign

        if self._lists is None:
            self._lists = np.empty((len(self._rows), _candidates.LANES), np.int32)
        with parallel_launch():
            _candidates.search(self._rows, cells, min(probes, len(cells.means)), self._lists, hidden)
        found = self.step(centers, labels)
        lost = np.flatnonzero(found < 0)
        if len(lost):
            # All of their scores overflowed.
            found[lost] = assign(self._rows[lost], centers, check_finite=False).labels
        return found

    def step(self, centers: NDArray[Any], labels: NDArray[np.int32] | None) -> NDArray[np.int32]:
        """Labels ``[n]`` for ``centers`` that moved: the nearest candidate, or ``labels`` if nearer."""
        from fastclust_kernels.assign import _candidates

        assert self._lists is not None
        found = np.full(len(self._rows), -1, np.int32) if labels is None else labels.copy()
        with parallel_launch():
            _candidates.among(self._rows, centers, self._lists, found)
        return found

    def seconds(
        self, centers: NDArray[Any], labels: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
        """Squared distances ``[n]`` to the own centre and to the nearest other candidate, and which that one is.

        Where there is no other, the distance is infinite and the number -1.
        """
        from fastclust_kernels.assign import _candidates

        assert self._lists is not None
        n = len(self._rows)
        own, second, heirs = np.empty(n), np.empty(n), np.empty(n, np.int32)
        with parallel_launch():
            _candidates.seconds(self._rows, centers, self._lists, labels, own, second, heirs)
        return own, second, heirs

    def tell(self, labels: NDArray[np.int32], moved: NDArray[np.int32]) -> None:
        """Let each row know a centre that moved near its own.

        Centre ``moved[c]`` (``[k]``, -1 for none) becomes a candidate of the rows whose label is c, in place of one
        that is not their label.
        """
        assert self._lists is not None
        rows = np.flatnonzero(moved[labels] >= 0)
        slots = (self._lists[rows] != labels[rows, None]).argmax(axis=1)
        self._lists[rows, slots] = moved[labels[rows]]


def cells_of(centers: NDArray[Any], cell: NDArray[np.int32]) -> Cells:
    """Centres ``[k, d]`` cell by cell, as a search takes them; ``cell``: int32 ``[k]``, from 0 without a gap."""
    from fastclust_kernels.assign import _candidates, _dense

    return _candidates.cells_of(centers, cell, _dense.frame_of(centers))
