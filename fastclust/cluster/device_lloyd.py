"""Lloyd's iteration on a GPU: centres, sums and the decision to stop stay there, an iteration is one CUDA graph."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from fastclust import progress
from fastclust.cluster.lloyd import Fit, next_centers
from fastclust.errors import InternalError
from fastclust_kernels.replay import Late, Replay
from fastclust_kernels.update.device import DeviceSums
from fastclust_kernels.update.still import StillSums

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from fastclust.cluster.device_rows import DeviceRows

__all__ = ["lloyd_there"]

#: What an iteration says of itself: it goes on; labels stay; centres stay; the host is asked; no more are wanted.
_GOES_ON, _STRICT, _NEAR, _ASKS, _ENOUGH = range(5)
#: Iterations that are launched before the first of them is waited for. After the last one so many change nothing.
_AHEAD = 2


def lloyd_there(
    rows: DeviceRows,
    centers: NDArray[Any],
    *,
    weights: NDArray[np.float64] | None,
    max_iter: int,
    tol: float,
    cosine: bool,
    run: tuple[int, int] = (0, 1),
    record: Callable[[Callable[[], None]], Any] | None = None,
) -> Fit:
    """What :func:`fastclust.cluster.lloyd.lloyd` does, to the same bits but for ``cosine``; ``record`` as of Replay.

    An iteration that empties a cluster, or shrinks one so much that all rows must be added up anew, is done by the
    host, which is rare; all others wait for nothing.
    """
    # What is recorded, and in which stream, is the current device's.
    with torch.cuda.device(rows.matrix.device) if rows.matrix.is_cuda else nullcontext():
        state = _State(rows, centers, weights, max_iter=max_iter, tol=tol, cosine=cosine)
        told = _iterated(state, rows.matrix.device, run, max_iter, record)
        last = state.centers.cpu().numpy()
        labels, inertia = rows.finish(state, last, weights)
    return Fit(last, labels, inertia, told, rows.backend, "lloyd")


def _iterated(
    state: _State,
    device: torch.device,
    run: tuple[int, int],
    max_iter: int,
    record: Callable[[Callable[[], None]], Any] | None,
) -> int:
    """Iterate until the state says that it is enough; return how often. Raises InternalError if it never says so."""
    step, late = Replay(state.iterate, device, record), Late(state.figures, _AHEAD)
    number, runs = run
    told = 0
    verdict = _GOES_ON if max_iter > 0 else _ENOUGH
    # Each time that the host is asked, what was launched ahead is done again.
    launches = (max_iter + 1) * (_AHEAD + 2)
    while verdict == _GOES_ON:
        if not launches:
            raise InternalError("k-means on a device: it was not heard that an iteration ended. Report this, please.")
        launches -= 1
        step()
        found = late.read()
        if found is None:
            continue
        verdict, done = found
        if verdict == _ASKS:
            late.drop()
            verdict, done = state.by_host()
        for each in range(told + 1, done + 1):
            progress.report("kmeans", number + each / max_iter, runs, f"run {number + 1}, iteration {each}", bound=True)
        told = max(told, done)
    return told


class _State:
    """What lies on the device between two iterations; to ``finish``, the rows' Nearest."""

    bounded = False

    def __init__(
        self,
        rows: DeviceRows,
        centers: NDArray[Any],
        weights: NDArray[np.float64] | None,
        *,
        max_iter: int,
        tol: float,
        cosine: bool,
    ) -> None:
        self.backend = rows.backend
        self._rows, self._weights = rows, weights
        self._max_iter, self._tol, self._cosine = max_iter, tol, cosine
        self._nearest = rows.keep_nearest()
        where = rows.matrix.device
        self._each = None if weights is None else torch.from_numpy(weights).to(where)
        self._gathered = StillSums(rows.matrix, len(centers), self._each, rows.added())
        #: In the rows' dtype.
        self.centers = rows.tensor(centers).clone()
        #: int64 [2]: what the last iteration says, and how many there were.
        self.figures = torch.zeros(2, dtype=torch.int64, device=where)

    def step(self, centers: NDArray[Any]) -> Any:
        """Labels for other centres."""
        return self._nearest.step(self._rows.tensor(centers))

    def iterate(self) -> None:
        """One iteration in launches of fixed shapes; one after the last changes nothing."""
        labels = self._nearest.step(self.centers)
        sums, total, peak, count, sound = self._gathered.tried(labels)
        asks = ~sound | (total == 0).any()
        run = (self.figures[0] == _GOES_ON) & ~asks
        moved = self._means(sums, total)
        shift = (moved.double() - self.centers.double()).square().sum()
        done = self.figures[1] + run
        verdict = torch.where(done >= self._max_iter, _ENOUGH, _GOES_ON)
        verdict = torch.where(shift <= self._tol, _NEAR, verdict)
        verdict = torch.where((count == 0) & (done > 1), _STRICT, verdict)
        verdict = torch.where(run, verdict, torch.where(self.figures[0] == _GOES_ON, _ASKS, self.figures[0]))
        self._gathered.keep(run, labels, sums, total, peak)
        self.centers.copy_(torch.where(run, moved, self.centers))
        self.figures.copy_(torch.stack([verdict, done]))

    def by_host(self) -> tuple[int, int]:
        """Do the iteration that asked for it, and let the device go on: what it says, and how many there were."""
        labels: Any = self._nearest.step(self.centers)
        centers = self.centers.cpu().numpy()
        gathered = DeviceSums(self._rows.matrix, len(centers), self._each, self._rows.added())
        # Before the first iteration there are no sums to go on from.
        if int(self.figures[1]):
            gathered.restore(self._gathered.state(), self._gathered.labels)
        sums, total, changed = gathered.step(labels)
        moved = next_centers(
            self._rows, labels, centers, self._weights, sums.cpu().numpy(), total.cpu().numpy(), cosine=self._cosine
        )
        shift = float(((moved.astype(float) - centers) ** 2).sum())
        done = int(self.figures[1]) + 1
        verdict = _ENOUGH if done >= self._max_iter else _GOES_ON
        if changed == 0 and done > 1:
            verdict = _STRICT
        elif shift <= self._tol:
            verdict = _NEAR
        self._gathered.restore(gathered.state(), labels)
        self.centers.copy_(self._rows.tensor(moved))
        self.figures.copy_(torch.tensor([verdict, done]))
        return verdict, done

    def _means(self, sums: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        means = torch.where(total[:, None] > 0, sums / total[:, None], self.centers.double())
        if self._cosine:
            lengths = torch.linalg.vector_norm(means, dim=1, keepdim=True)
            means = torch.where(lengths > 0, means / torch.where(lengths > 0, lengths, 1.0), self.centers.double())
        return means.to(self.centers.dtype)
