"""Lloyd's iteration for very many clusters: rows look at a few candidates, and idle centres move."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.cluster.cells import labels_in_cells
from fastclust.cluster.chances import Chances
from fastclust.cluster.greedy import greedy_rows, is_dear
from fastclust.cluster.lloyd import means_of
from fastclust.cluster.rows import DenseRows
from fastclust.cluster.swaps import swaps
from fastclust_kernels.assign.candidates import CandidateSearch, cells_of

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust_kernels.assign._candidates import Cells

__all__ = ["Settling", "grouped"]

#: Iterations from one search to the next: few at first, while centres move far.
_REST = (2, 3, 4)
#: Cells that a row looks at by default.
_PROBED = 0.25
#: Iterations after which idle centres move.
_SWAPPED = 3


def grouped(
    centers: NDArray[Any], cells: int, n_probes: int | str, random: RandomState, *, cosine: bool
) -> tuple[Cells, int]:
    """Centres cell by cell, and how many of the ``cells`` a row looks at."""
    rows = DenseRows(centers)
    if is_dear(rows.shape, cells):
        start = Chances(len(centers), None, None).draw(cells, random)
    else:
        start = greedy_rows(centers, cells, np.ones(len(centers)), random)
    _, cell = np.unique(labels_in_cells(rows, rows.take(start), None, cosine=cosine)[1], return_inverse=True)
    found = int(cell.max()) + 1
    probes = math.ceil(_PROBED * found) if n_probes == "auto" else int(n_probes)
    return cells_of(centers, cell.astype(np.int32)), min(probes, found)


class Settling:
    """Centres ``[k, d]`` and labels ``[n]`` of rows, iteration by iteration.

    From time to time the centres are put into ``cells``, and each row looks at all centres of the ``n_probes`` nearest
    ones ("auto": a quarter); in between it looks at 16 of those that were nearest then. In the first iterations centres
    that are of little use move to where one more is of much.
    """

    def __init__(
        self,
        rows: DenseRows,
        centers: NDArray[Any],
        weights: NDArray[np.float64] | None,
        random: RandomState,
        *,
        cells: int,
        n_probes: int | str = "auto",
        cosine: bool,
    ) -> None:
        self.centers = centers
        self.labels: NDArray[np.int32] | None = None
        self.n_iter = 0
        self._rows, self._weights, self._random = rows, weights, random
        self._cells, self._n_probes, self._cosine = cells, n_probes, cosine
        self._search, self._sums = CandidateSearch(rows.matrix), rows.sums(len(centers), weights)

    def iterate(self, most: int, tol: float, *, verbose: bool = False) -> None:
        """Up to ``most`` iterations, until a search changes at most a share ``tol`` of the labels."""
        searches = rest = 0
        while self.n_iter < most:
            self.n_iter += 1
            searched = not rest
            if searched:
                # Cells are found by k-means too, which is none of our iterations.
                with progress.as_part("kmeans", "", (self.n_iter - 1) / most, (self.n_iter - 1) / most):
                    cells, probes = self._grouped()
                self.labels = self._search.search(self.centers, cells, probes, self.labels)
                rest = _REST[min(searches, len(_REST) - 1)]
                searches += 1
            else:
                assert self.labels is not None
                self.labels = self._search.step(self.centers, self.labels)
            rest -= 1
            moved, changed = self._move(swap=self.n_iter <= _SWAPPED and self.n_iter < most)
            said = f"iteration {self.n_iter}, {changed} labels changed"
            progress.report("kmeans", self.n_iter, most, said, bound=True)
            if verbose:
                print(f"HierarchicalKMeans {said}, {moved} centres moved")  # noqa: T201
            if self.n_iter > 1 and not moved and changed <= tol * len(self.labels):
                if searched:
                    break
                rest = 0

    def finish(self) -> tuple[NDArray[np.int32], NDArray[np.float64], float]:
        """Labels that belong to the centres, squared distances to them, and the share of certified rows."""
        with progress.as_part("kmeans", "", 1.0, 1.0):
            cells, probes = self._grouped()
        return self._search.finish(self.centers, cells, probes, self.labels)

    def _grouped(self) -> tuple[Cells, int]:
        return grouped(self.centers, self._cells, self._n_probes, self._random, cosine=self._cosine)

    def _move(self, *, swap: bool) -> tuple[int, int]:
        """Move the centres to the means, and some elsewhere: how many of these, and how many labels had changed."""
        assert self.labels is not None
        k, before = len(self.centers), self.centers
        sums, total, changed = self._sums.step(self.labels)
        self.centers = means_of(sums, total, before, cosine=self._cosine)
        if not swap:
            return 0, changed
        nearest = self._search.seconds(before, self.labels)
        found = swaps(self._rows, self.labels, nearest, k, self._weights, self._random)
        self.centers[found.centers] = self._rows.take(found.rows)
        moved = np.full(k, -1, np.int32)
        moved[found.clusters] = found.centers
        self._search.tell(self.labels, moved)
        return len(found.rows), changed
