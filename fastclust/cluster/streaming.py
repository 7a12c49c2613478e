"""Rows that stay in their files: k-means reads them block by block, once an iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.cluster.chunks import CHUNK, Spread, chunk_sums, total
from fastclust.cluster.few import FewMoving, FewSums, few_moving
from fastclust.cluster.rows import DenseRows
from fastclust.data.limits import block_rows, floating, memory_of
from fastclust.data.scratch import scratch
from fastclust.errors import InputError
from fastclust_kernels.assign import assign, distances_to_own
from fastclust_kernels.assign.moving import MovingAssignment, bytes_of_bounds
from fastclust_kernels.update.streamed import Carry, StreamedSums

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust.cluster.rows import Nearest, Sums
    from fastclust.cluster.spaces import Space
    from fastclust.data import RowSource

__all__ = ["StreamedRows"]


class StreamedRows:
    """Rows of a source, as :class:`~fastclust.cluster.rows.Rows`; large arrays of one number a row are in files."""

    def __init__(self, source: RowSource, space: Space, folder: Path | None = None) -> None:
        self.matrix = self._source = source
        self._space, self._folder = space, folder
        self.dtype = floating(source.dtype)
        self.shape = (len(source), self.change(source.take([0])).shape[1])
        width = self.shape[1] * self.dtype.itemsize
        #: Bytes that work on the rows may take.
        self.memory = memory_of(source)
        #: Rows of a block, a whole number of chunks.
        self.block = block_rows(self.memory, width, CHUNK)
        self._checked = False

    def blocks(self, step: str = "") -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield blocks ``[rows, d]`` in the space, each with the number of its first row."""
        start = 0
        for X in self._source.blocks(self.block, change=self.change):
            if not self._checked:
                _look(X, start)
            yield start, X
            start += len(X)
            if step:
                progress.report(step, start, self.shape[0], f"{start} of {self.shape[0]} rows")
        self._checked = True

    def change(self, X: NDArray[Any]) -> NDArray[Any]:
        """Rows of the source as they are in the space."""
        rows = np.ascontiguousarray(X, self.dtype)
        # Kernels are compiled for arrays that may be written to.
        return self._space.enter(rows if rows.flags.writeable else rows.copy())

    def array(self, dtype: Any) -> NDArray[Any]:
        """One number a row."""
        return scratch((self.shape[0],), dtype, self._folder, self.memory // 64)

    def take(self, numbers: Any) -> NDArray[Any]:
        """Some rows, in memory. Each is what it is in its block, to the bit."""
        wanted = np.asarray(numbers, np.int64)
        if self._space.name != "mahalanobis":
            taken = self.change(self._source.take(wanted))
            _look(taken, None)
            return taken
        out = np.empty((len(wanted), self.shape[1]), self.dtype)
        for chunk in np.unique(wanted // CHUNK):
            start = int(chunk) * CHUNK
            mine = np.flatnonzero(wanted // CHUNK == chunk)
            stop = min(start + CHUNK, self.shape[0])
            (X,) = self._source.blocks(CHUNK, start=start, stop=stop, change=self.change)
            out[mine] = X[wanted[mine] - start]
        _look(out, None)
        return out

    def some(self, numbers: Any) -> DenseRows:
        """Some rows, in memory."""
        return DenseRows(self.take(numbers))

    def nearest(self, k: int, backend: str, bounds: bool | None) -> Nearest:
        """Labels, again and again."""
        return few_moving(self, k, backend, bounds, self.room()) or _Moving(self, k, backend, bounds)

    def sums(self, k: int, weights: NDArray[np.float64] | None) -> Sums:  # noqa: ARG002 - of the protocol
        """Not without labels, which take the same pass."""
        raise InputError("X", f"{self.shape[0]} rows in files", f"rows in memory, for {k} sums without labels")

    def moving(
        self, k: int, weights: NDArray[np.float64] | None, backend: str, bounds: bool | None
    ) -> tuple[Nearest, Sums]:
        """Labels, and sums that are added up in the same pass."""
        nearest = self.nearest(k, backend, bounds)
        if isinstance(nearest, FewMoving):
            return nearest, FewSums(nearest, weights)
        assert isinstance(nearest, _Moving)
        return nearest, _Sums(nearest, weights)

    def assigned(
        self, centers: NDArray[Any], backend: str
    ) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.float64]]]:
        """Labels and squared distances block by block."""
        for start, X in self.blocks("pass"):
            labels, distances, self.backend = assign(X, centers, backend=backend, check_finite=False)[:3]
            yield start, labels, distances

    def assign(self, centers: NDArray[Any], backend: str) -> tuple[NDArray[np.int32], NDArray[np.float64], str]:
        """Labels, squared distances and the backend, once."""
        labels, distances = self.array(np.int32), self.array(np.float64)
        for start, found, away in self.assigned(centers, backend):
            labels[start : start + len(found)], distances[start : start + len(found)] = found, away
        return labels, distances, self.backend

    def own(self, centers: NDArray[Any], labels: NDArray[np.int32]) -> NDArray[np.float64]:
        """Squared distances to the centres of the labels."""
        distances = self.array(np.float64)
        for start, X in self.blocks():
            here = slice(start, start + len(X))
            distances[here] = distances_to_own(X, centers, labels[here])
        return distances

    def few(self, others: NDArray[Any]) -> NDArray[np.float64]:
        """Not for rows on disk."""
        del others
        raise InputError("X", f"{self.shape[0]} rows in files", "rows in memory, for all distances to some rows")

    def all(self, centers: NDArray[Any]) -> NDArray[Any]:
        """Not for rows on disk: there are n times k distances."""
        raise InputError(
            "X", f"{self.shape[0]} rows in files", "rows in memory", f"Transform blocks of them: {len(centers)} a row."
        )

    def variance(self) -> float:
        """Mean variance of the columns."""
        spread = Spread(self.shape[1])
        for _, X in self.blocks("read"):
            spread.add(X)
        return spread.variance()

    def inertia(self, centers: NDArray[Any], labels: NDArray[np.int32], weights: NDArray[np.float64] | None) -> float:
        """Weighted sum of squared distances to the centres of the labels."""
        sums: list[float] = []
        for start, X in self.blocks():
            here = slice(start, start + len(X))
            sums += _weighted(distances_to_own(X, centers, labels[here]), weights, here)
        return total(sums)

    def finish(
        self, nearest: Nearest, centers: NDArray[Any], weights: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int32], float]:
        """Labels for the last centres and the inertia, in one pass."""
        assert isinstance(nearest, (FewMoving, _Moving))
        sums: list[float] = []
        for start, X in self.blocks("pass"):
            here = slice(start, start + len(X))
            labels = nearest.labels[here] = nearest.block(start, X, centers)
            sums += _weighted(distances_to_own(X, centers, labels), weights, here)
        return nearest.labels, total(sums)

    def means(
        self, labels: NDArray[np.int32], k: int, weights: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums ``[k, d]`` and weights ``[k]`` of clusters."""
        carry = Carry(k, self.shape[1])
        for start, X in self.blocks():
            here = slice(start, start + len(X))
            carry.add(X, None, labels[here], None if weights is None else weights[here])
        return carry.result()

    def room(self) -> int:
        """Bytes that are left for what speeds things up, beside blocks that are read, changed and worked on."""
        block = self.block * self.shape[1] * int(self.dtype.itemsize)
        return int(self.memory // 4 * 3 - 4 * block)


def _weighted(distances: NDArray[np.float64], weights: NDArray[np.float64] | None, here: slice) -> list[float]:
    return chunk_sums(distances if weights is None else distances * weights[here])


def _look(X: NDArray[Any], start: int | None) -> None:
    """Raise InputError, naming the row in the source, if there is NaN or Inf."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(X.sum()):
            return
    bad = np.argwhere(~np.isfinite(X))
    if len(bad):
        row, column = (int(place) for place in bad[0])
        where = f" at row {start + row}, column {column}" if start is not None else ""
        raise InputError("X", f"{X[row, column]}{where}", "finite numbers: no NaN, no Inf")


class _Moving:
    """Labels of all rows for centres that move, and what StreamedSums makes of them in the same pass."""

    def __init__(self, rows: StreamedRows, k: int, backend: str, bounds: bool | None) -> None:
        self._rows, self._k, self._asked = rows, k, backend
        self._nothing = np.empty((0, rows.shape[1]), rows.dtype)
        probe = MovingAssignment(self._nothing, k, backend=backend, bounds=bounds)
        self.backend, self.bounded = probe.backend, probe.bounded
        self.labels = rows.array(np.int32)
        self._blocks: dict[int, MovingAssignment] = {}
        #: Bounds of as many blocks as there is room for; the others do without, to the same labels.
        self._room = rows.room() - 8 * k * rows.shape[1] * 8
        self.gathered: StreamedSums | None = None
        self.weights: NDArray[np.float64] | None = None
        self.anew = False

    def step(self, centers: NDArray[Any]) -> NDArray[np.int32]:
        """Labels ``[n]``; the next step reuses the array."""
        if self.gathered is not None:
            self.gathered.begin()
        for start, X in self._rows.blocks("pass"):
            here = slice(start, start + len(X))
            labels = self.block(start, X, centers)
            if self.gathered is not None:
                self.gathered.add(X, labels, self.labels[here], None if self.weights is None else self.weights[here])
            self.labels[here] = labels
        self.anew = self.gathered is not None and self.gathered.end()
        return self.labels

    def block(self, start: int, X: NDArray[Any], centers: NDArray[Any]) -> NDArray[np.int32]:
        """Labels of one block."""
        moving = self._blocks.get(start)
        if moving is None:
            needed = bytes_of_bounds(len(X), self._k, X.shape[1] * X.itemsize)
            fits = self.bounded and needed <= self._room
            moving = MovingAssignment(X, self._k, backend=self._asked, bounds=fits)
            if not fits:
                return moving.step(centers)
            self._blocks[start] = moving
            self._room -= needed
        moving.rows_at(X)
        labels = moving.step(centers)
        moving.rows_at(self._nothing)
        return labels

    def again(self) -> None:
        """Add up all rows anew, where the labels ask for it."""
        assert self.gathered is not None
        for start, X in self._rows.blocks("sums"):
            here = slice(start, start + len(X))
            self.gathered.add_all(X, self.labels[here], None if self.weights is None else self.weights[here])
        self.gathered.end_all()
        self.anew = False


class _Sums:
    """The sums of a :class:`_Moving`."""

    def __init__(self, moving: _Moving, weights: NDArray[np.float64] | None) -> None:
        n, d = moving._rows.shape  # noqa: SLF001 - one thing in two protocols
        self._moving, moving.weights = moving, weights
        self._gathered = moving.gathered = StreamedSums(n, moving._k, d, weighted=weights is not None)  # noqa: SLF001

    def step(self, labels: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Return what the pass that gave ``labels`` added up."""
        assert labels is self._moving.labels
        if self._moving.anew:
            self._moving.again()
        return self._gathered.result()

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What, with the labels, is needed to go on."""
        return self._gathered.state()

    def restore(self, state: dict[str, NDArray[np.float64]], labels: NDArray[np.int32]) -> None:
        """Go on from a state."""
        assert labels is self._moving.labels
        self._gathered.restore(state)
