"""Lloyd's iteration with at most 16 centres: labels and sums in one pass over the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from fastclust_kernels.arrays import writable
from fastclust_kernels.assign._vectors import PANEL
from fastclust_kernels.dispatch import launch
from fastclust_kernels.update.moving import SHRUNK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.assign._dense import Frame, Placed

__all__ = ["CHUNK", "MOST_CENTERS", "FewCenters", "Known"]

MOST_CENTERS = PANEL
#: Rows of a chunk, whose sums are added up in their order. Blocks of rows hold a whole number of chunks.
CHUNK = 2048
#: Chunks of one launch, and bytes of their sums.
_CHUNKS, _SUMS_BYTES = 64, 16 * 2**20


class Known(NamedTuple):
    """What is known of some rows from the pass before; written to."""

    labels: NDArray[np.int32]
    #: Squared length float64 ``[n]``, and bounds on the distance to the own centre and to any other, float32 ``[n]``;
    #: empty for none. Bounds begin at infinity and 0.
    squares: NDArray[np.float64]
    upper: NDArray[np.float32]
    lower: NDArray[np.float32]

    def part(self, here: slice) -> Known:
        """Of some of the rows."""
        return Known(self.labels[here], self.squares[here], self.upper[here], self.lower[here])


class FewCenters:
    """Sums of clusters, float64, for labels that are found in the same pass.

    A pass is :meth:`begin`, :meth:`add` for each block of rows in order, :meth:`end`. The latter says whether all rows
    must be added up anew, which takes another pass of :meth:`add_all` and :meth:`end_all`. The order of additions is
    fixed by the labels and the chunks of rows: any number of threads, and any blocks, give the same bits. Labels are
    those of :func:`fastclust_kernels.assign.assign`.

    Parameters
    ----------
    k, d
        Centres, at most 16, and columns.
    dtype
        float32 or float64, of rows and centres.
    """

    def __init__(self, k: int, d: int, dtype: Any) -> None:
        self._k, self._d, self._dtype = k, d, np.dtype(dtype)
        self._frame: Frame | None = None
        self._placed: Placed | None = None
        self._first = True
        most = int(np.clip(_SUMS_BYTES // (8 * k * d), 2, _CHUNKS))
        self._chunks = -(-max(most, numba.get_num_threads()) // 2) * 2
        self._parts = (
            np.empty((self._chunks, k, d)),
            np.empty((self._chunks, k)),
            np.empty((self._chunks, k), np.int64),
        )
        self._changed, self._scored = np.zeros(self._chunks, np.int64), np.zeros(self._chunks, np.int64)
        self._sums, self._total, self._peak = np.zeros((k, d)), np.zeros(k), np.zeros(k)
        self._rows = np.zeros(k, np.int64)
        self._nothing = np.empty(0)
        #: Labels that changed in the last pass, and rows that were scored.
        self.changed = self.scored = 0

    def place(self, centers: NDArray[Any]) -> Placed:
        """Prepare centres ``[k, d]``. The origin of scores is chosen at the first ones."""
        from fastclust_kernels.assign import _dense

        if self._frame is None:
            self._frame = _dense.frame_of(centers)
        with np.errstate(over="ignore", invalid="ignore"):
            return _dense.place(centers.copy(), self._frame)

    def begin(self) -> None:
        """Begin a pass."""
        self.changed = self.scored = 0
        self._gained = self._zeros()

    def add(
        self,
        X: NDArray[Any],
        placed: Placed,
        before: Placed | None,
        known: Known,
        weights: NDArray[np.float64] | None,
        *,
        gather: bool = True,
    ) -> None:
        """Find the labels of a block of rows ``[m, d]``, and with ``gather`` add up what the clusters gain.

        ``before`` are the centres that the bounds belong to; None for the first.
        """
        from fastclust_kernels.assign import _few

        mode = _few.NOTHING if not gather else _few.ALL if self._first else _few.CHANGES
        drift, rivals = _drift(placed, before)
        bounded = len(known.upper) > 0
        step = self._chunks * CHUNK
        with launch():
            for start in range(0, len(X), step):
                here = slice(start, start + step)
                rows, own = writable(X[here]), known.part(here)
                chunks = -(-len(rows) // CHUNK)
                each = self._nothing if weights is None else weights[here]
                _few.label_chunks(
                    rows, placed.centers, placed.panels[0], placed.halves[0], drift, rivals, placed.frame.shift,
                    placed.frame.shifted, placed.frame.unit, placed.reach, bounded, mode, *own, each,
                    weights is not None, *self._parts, self._changed, self._scored, numba.get_num_threads(),
                )  # fmt: skip
                self.changed += len(rows) if self._first else int(self._changed[:chunks].sum())
                self.scored += int(self._scored[:chunks].sum())
                if gather:
                    _few.combine(chunks, mode == _few.CHANGES, self._changed, *self._parts, *self._gained)

    def end(self) -> bool:
        """Return whether all rows must be added up anew."""
        if self._first:
            self.end_all()
            return False
        sums, total, rows = self._gained
        self._sums += sums
        self._total += total
        self._rows += rows
        # What is left of a cluster without rows is rounding.
        self._sums[self._rows == 0] = 0.0
        self._total[self._rows == 0] = 0.0
        size = np.abs(self._sums).max(axis=1)
        if (size < SHRUNK * self._peak).any():
            self._gained = self._zeros()
            return True
        self._peak = np.maximum(self._peak, size)
        return False

    def add_all(self, X: NDArray[Any], labels: NDArray[np.int32], weights: NDArray[np.float64] | None) -> None:
        """Take a block of the other pass."""
        from fastclust_kernels.assign import _few

        step = self._chunks * CHUNK
        with launch():
            for start in range(0, len(X), step):
                here = slice(start, start + step)
                each = self._nothing if weights is None else weights[here]
                rows = writable(X[here])
                _few.add_chunks(rows, labels[here], each, weights is not None, *self._parts, numba.get_num_threads())
                _few.combine(-(-len(rows) // CHUNK), False, self._changed, *self._parts, *self._gained)  # noqa: FBT003

    def end_all(self) -> None:
        """End the other pass."""
        self._sums, self._total, self._rows = self._gained
        self._peak = np.abs(self._sums).max(axis=1)
        self._first = False

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Sums ``[k, d]``, weights ``[k]`` and how many labels changed; arrays to keep."""
        return self._sums.copy(), self._total.copy(), self.changed

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What, with the labels, is needed to go on."""
        rows = self._rows.astype(np.float64)
        return {"sums": self._sums, "total": self._total, "peak": self._peak, "rows": rows}

    def restore(self, state: dict[str, NDArray[np.float64]]) -> None:
        """Go on from :meth:`state`."""
        self._sums, self._total, self._peak = (state[name].copy() for name in ("sums", "total", "peak"))
        self._rows = state["rows"].astype(np.int64)
        self._first = False

    def _zeros(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        return np.zeros((self._k, self._d)), np.zeros(self._k), np.zeros(self._k, np.int64)


def _drift(placed: Placed, before: Placed | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far each centre went, and the one that went farthest of all others, rounded up: ``[k]``."""
    k = len(placed.centers)
    if before is None:
        return np.zeros(k, np.float32), np.zeros(k, np.float32)
    difference = placed.centers.astype(np.float64) - before.centers
    far = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    drift = np.nextafter((far * (1 + 1e-12)).astype(np.float32), np.float32(np.inf))
    rivals = np.zeros(k, np.float32)
    if k > 1:
        order = np.argsort(drift)
        rivals[:] = drift[order[-1]]
        rivals[order[-1]] = drift[order[-2]]
    return drift, rivals
