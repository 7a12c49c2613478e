"""Rows that are more than a GPU holds: each pass copies them there block by block, while it works on the one before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastclust.cluster.chunks import CHUNK, chunk_sums, total
from fastclust.cluster.streaming import StreamedRows
from fastclust.data import RowSource
from fastclust.data.limits import floating
from fastclust.errors import BackendError
from fastclust_kernels.assign import BACKENDS
from fastclust_kernels.assign.device import DeviceAssignment
from fastclust_kernels.assign.screening import CERTIFIED, Screening
from fastclust_kernels.devices import architecture_of, device_for_kernels
from fastclust_kernels.dispatch import Request, choose
from fastclust_kernels.staging import Staging
from fastclust_kernels.update import _triton

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust.cluster.rows import Nearest, Sums
    from fastclust.cluster.spaces import Space

__all__ = ["DeviceStreamedRows", "fits_there", "streams_there"]

#: Share of a GPU's memory that rows may take with what stands beside them. It is of all memory, not of what is free:
#: which way rows go decides the last bits, and must not differ between two fits.
_SHARE = 0.6
#: Bytes a row beside those of its numbers and their copy: labels, bounds, lists, and their sorting.
_LISTS = 40
#: Share of the host's memory that rows of a file may take on their way, where it was not said what they may.
_HOST_SHARE = 0.125
#: Bytes of a block; there are two on the device, and what works on one takes about as much again.
_BLOCK_BYTES = 1 << 26


def streams_there(X: Any, device: torch.device) -> bool:
    """Whether rows of the host go to the device block by block: a matter of sizes alone, the same at each fit."""
    if isinstance(X, RowSource) and not X.in_memory:
        itemsize = floating(X.dtype).itemsize
        row_bytes = X.shape[0] * X.shape[1] * itemsize
        if row_bytes > (host_memory() * _HOST_SHARE if X.memory is None else X.memory // 2):
            return True
        return not fits_there(X.shape, itemsize, device)
    if not isinstance(X, np.ndarray) or X.ndim != 2 or X.dtype.kind != "f":
        # Is there already, or is looked at first.
        return False
    return not fits_there(X.shape, X.itemsize, device)


def fits_there(shape: tuple[int, int], itemsize: int, device: torch.device) -> bool:
    """Whether rows ``[n, d]`` are to lie on the device at once, with the largest copy that a screen makes of them."""
    n, d = shape
    row = d * itemsize + 4 * max(16, min(2 * d, d + 63)) + _LISTS
    return device.type != "cuda" or n * row <= _SHARE * torch.cuda.get_device_properties(device).total_memory


def host_memory() -> int:
    """Bytes of memory of this machine, used or not."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class DeviceStreamedRows(StreamedRows):
    """Rows of a source, on Triton's kernels; of what is per row, only labels stay on the device, int32 ``[n]``."""

    def __init__(
        self,
        source: RowSource,
        space: Space,
        folder: Path | None,
        backend: str,
        *,
        screening: Screening = CERTIFIED,
    ) -> None:
        super().__init__(source, space, folder)
        self._screening = screening
        self.device = device_for_kernels()
        request = Request(self.device.type, self.dtype.name, architecture_of(self.device))
        choose("assign", BACKENDS, request, backend)
        width = self.shape[1] * self.dtype.itemsize
        # Sums are of blocks: what is free at the moment must not cut them.
        most = _BLOCK_BYTES if source.memory is None else min(_BLOCK_BYTES, source.memory // 12)
        self.block = max(1, most // width // CHUNK) * CHUNK
        kind = torch.float64 if self.dtype == np.float64 else torch.float32
        self._staging = Staging(min(self.block, self.shape[0]), self.shape[1], kind, self.device)
        #: Where the origin of each block was moved to and how its rows were scaled; the first pass finds out.
        self._frames: dict[int, Any] = {}
        self._counted: list[tuple[torch.Tensor, int]] = []

    @property
    def certified(self) -> float:
        """Share of the rows that the last pass's screens decided."""
        doubtful = sum(int(count.item()) for count, _ in self._counted)
        return 1.0 - doubtful / max(1, sum(rows for _, rows in self._counted))

    def there(self, step: str = "") -> Iterator[tuple[int, torch.Tensor]]:
        """Blocks on the device, each with the number of its first row."""
        return self._staging.blocks(self.blocks(step))

    def labelled(
        self, centers: NDArray[Any], step: str
    ) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor, DeviceAssignment]]:
        """Which rows, they, their labels, and what gave them, block by block."""
        where, self._counted = torch.from_numpy(np.ascontiguousarray(centers)).to(self.device), []
        for start, X in self.there(step):
            moving = DeviceAssignment(X, self._frames.get(start), screening=self._screening)
            labels = moving.step(where)
            self._frames[start] = moving.frame
            self._counted.append((moving.doubtful, len(X)))
            yield slice(start, start + len(X)), X, labels, moving

    def nearest(self, k: int, backend: str, bounds: bool | None) -> Nearest:
        """Labels, again and again."""
        del k, backend  # was chosen when the rows were made
        if bounds:
            raise BackendError("algorithm='elkan': backend='triton' keeps no bounds. Allowed: auto, lloyd.")
        return _Moving(self)

    def moving(
        self, k: int, weights: NDArray[np.float64] | None, backend: str, bounds: bool | None
    ) -> tuple[Nearest, Sums]:
        """Labels, and sums that are added up in the same pass."""
        nearest = self.nearest(k, backend, bounds)
        assert isinstance(nearest, _Moving)
        return nearest, _Sums(nearest, k, weights)

    def assigned(
        self, centers: NDArray[Any], backend: str
    ) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.float64]]]:
        """Labels and squared distances block by block."""
        del backend
        self.backend = "triton"
        where = torch.from_numpy(np.ascontiguousarray(centers)).to(self.device)
        for here, _, labels, moving in self.labelled(centers, "pass"):
            yield here.start, labels.cpu().numpy(), moving.distances(where, labels).cpu().numpy()

    def finish(
        self, nearest: Nearest, centers: NDArray[Any], weights: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int32], float]:
        """Labels for the last centres and the inertia, in one pass."""
        del nearest
        labels, sums = self.array(np.int32), list[float]()
        for start, found, away in self.assigned(centers, "triton"):
            here = slice(start, start + len(found))
            labels[here] = found
            sums += chunk_sums(away if weights is None else away * weights[here])
        return labels, total(sums)


class _Moving:
    """Labels of all rows for centres that move, and the sums that a pass leaves."""

    backend, bounded = "triton", False

    def __init__(self, rows: DeviceStreamedRows) -> None:
        self.rows = rows
        self.labels = torch.full((rows.shape[0],), -1, dtype=torch.int32, device=rows.device)
        self.sums: _Sums | None = None

    def step(self, centers: NDArray[Any]) -> NDArray[np.int32]:
        """Labels ``[n]``; waits for the device once, at the end of the pass."""
        if self.sums is not None:
            self.sums.begin()
        for here, X, labels, _ in self.rows.labelled(centers, "pass"):
            if self.sums is not None:
                self.sums.add(here, X, labels)
            self.labels[here] = labels
        found: NDArray[np.int32] = self.labels.cpu().numpy()
        return found


class _Sums:
    """Sums of a pass, float64: those of each block in a fixed order, and blocks in theirs. The same bits again."""

    def __init__(self, moving: _Moving, k: int, weights: NDArray[np.float64] | None) -> None:
        self._moving, self._k, self._weights = moving, k, weights
        moving.sums = self

    def begin(self) -> None:
        """Begin a pass."""
        rows = self._moving.rows
        self._gathered = torch.zeros(self._k, rows.shape[1], dtype=torch.float64, device=rows.device)
        self._total = torch.zeros(self._k, dtype=torch.float64, device=rows.device)
        self._changed = torch.zeros((), dtype=torch.int64, device=rows.device)

    def add(self, here: slice, X: torch.Tensor, labels: torch.Tensor) -> None:
        """Add up a block; waits for nothing, but for its weights where there are some."""
        each = None if self._weights is None else torch.from_numpy(self._weights[here]).to(X.device)
        sums, total_ = _triton.added(X, None, labels, self._k, each)
        self._gathered += sums
        self._total += total_
        self._changed += (labels != self._moving.labels[here]).sum()

    def step(self, labels: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Return what the pass that gave ``labels`` added up, and how many of them changed."""
        del labels
        return self._gathered.cpu().numpy().copy(), self._total.cpu().numpy().copy(), int(self._changed)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Nothing: each pass adds up all rows."""
        return {}

    def restore(self, state: dict[str, NDArray[np.float64]], labels: NDArray[np.int32]) -> None:
        """Go on; the pass that gave ``labels`` has left them where the next one looks."""
        del state, labels
