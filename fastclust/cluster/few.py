"""Few clusters: labels and sums of rows in one pass over them, wherever the rows lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastclust_kernels.assign import BACKENDS
from fastclust_kernels.assign.few import MOST_CENTERS, FewCenters, Known
from fastclust_kernels.dispatch import Request, choose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastclust_kernels.assign._dense import Placed

__all__ = ["FewMoving", "FewSums", "few_moving"]

#: From this many columns on bounds, 16 bytes a row, are at most a fifth of the row.
_WORTH_COLUMNS = 20
#: Bytes of what is kept of a row between passes.
_BYTES = 16


class _Blocks(Protocol):
    dtype: np.dtype[Any]
    shape: tuple[int, int]

    def blocks(self, step: str = "") -> Iterator[tuple[int, NDArray[Any]]]:
        """Blocks of rows, each with the number of its first row."""

    def array(self, dtype: Any) -> NDArray[Any]:
        """One number a row, zeros."""


def few_moving(rows: _Blocks, k: int, backend: str, bounds: bool | None, room: float = np.inf) -> FewMoving | None:
    """Return labels with sums, where the centres are few enough and the backend is ours; bounds within ``room``."""
    if k > MOST_CENTERS or choose("assign", BACKENDS, Request("cpu", rows.dtype.name), backend).name != "numba":
        return None
    worth = rows.shape[1] >= _WORTH_COLUMNS if bounds is None else bounds
    return FewMoving(rows, k, bounded=worth and _BYTES * rows.shape[0] <= room)


class FewMoving:
    """Labels of all rows for centres that move; with :class:`FewSums`, sums are added up in the same pass."""

    backend = "numba"

    def __init__(self, rows: _Blocks, k: int, *, bounded: bool) -> None:
        self.bounded = bounded
        self.labels = rows.array(np.int32)
        self.weights: NDArray[np.float64] | None = None
        self.gathers = False
        self.gathered = FewCenters(k, rows.shape[1], rows.dtype)
        self.anew = False
        self._rows = rows
        self._known = Known(self.labels, np.empty(0), np.empty(0, np.float32), np.empty(0, np.float32))
        if bounded:
            self._known = Known(self.labels, rows.array(np.float64), rows.array(np.float32), rows.array(np.float32))
            self._known.upper[:] = np.inf
        #: Of each block, the centres that its bounds belong to.
        self._before: dict[int, Placed] = {}

    @property
    def share(self) -> float:
        """Share of all distances that the last pass computed."""
        return self.gathered.scored / self._rows.shape[0]

    def step(self, centers: NDArray[Any]) -> NDArray[np.int32]:
        """Labels ``[n]``; the next step reuses the array."""
        self.gathered.begin()
        placed = self.gathered.place(centers)
        for start, X in self._rows.blocks("pass"):
            self._add(start, X, placed, gather=self.gathers)
        self.anew = self.gathers and self.gathered.end()
        return self.labels

    def block(self, start: int, X: NDArray[Any], centers: NDArray[Any]) -> NDArray[np.int32]:
        """Labels of one block, without sums."""
        self._add(start, X, self.gathered.place(centers), gather=False)
        return self.labels[start : start + len(X)].copy()

    def again(self) -> None:
        """Add up all rows anew, where the sums ask for it."""
        for start, X in self._rows.blocks("sums"):
            here = slice(start, start + len(X))
            self.gathered.add_all(X, self.labels[here], None if self.weights is None else self.weights[here])
        self.gathered.end_all()
        self.anew = False

    def _add(self, start: int, X: NDArray[Any], placed: Placed, *, gather: bool) -> None:
        here = slice(start, start + len(X))
        weights = self.weights[here] if gather and self.weights is not None else None
        self.gathered.add(X, placed, self._before.get(start), self._known.part(here), weights, gather=gather)
        if self.bounded:
            self._before[start] = placed


class FewSums:
    """The sums of a :class:`FewMoving`."""

    def __init__(self, moving: FewMoving, weights: NDArray[np.float64] | None) -> None:
        self._moving, moving.weights, moving.gathers = moving, weights, True

    def step(self, labels: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Return what the pass that gave ``labels`` added up."""
        assert labels is self._moving.labels
        if self._moving.anew:
            self._moving.again()
        return self._moving.gathered.result()

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What, with the labels, is needed to go on."""
        return self._moving.gathered.state()

    def restore(self, state: dict[str, NDArray[np.float64]], labels: NDArray[np.int32]) -> None:
        """Go on from a state."""
        assert labels is self._moving.labels
        self._moving.gathered.restore(state)
