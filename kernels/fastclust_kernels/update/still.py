"""Sums of clusters on a torch device in launches of fixed shapes, whatever changed: :mod:`device` without waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fastclust_kernels.update import _triton
from fastclust_kernels.update.moving import MOST, SHRUNK

if TYPE_CHECKING:
    from fastclust_kernels.update.device import Added

__all__ = ["StillSums"]


class StillSums:
    """What :class:`~fastclust_kernels.update.device.DeviceSums` returns, to the bit, in a step that a graph can hold.

    A list of twice as many entries as there are rows: those that a row adds to its cluster, and those that it takes
    from the one before. What does not count has the cluster k, which is sorted behind all others and never read.

    Parameters
    ----------
    X
        C-contiguous ``[n, d]``; not copied.
    k
        Number of clusters.
    weights
        float64 ``[n]``, or None for one each.
    added
        As of :class:`~fastclust_kernels.update.device.DeviceSums`.
    """

    def __init__(self, X: torch.Tensor, k: int, weights: torch.Tensor | None, added: Added = _triton.added) -> None:
        self._added = added
        n = len(X)
        self._rows, self._k, self._weights = X, k, weights
        each = torch.ones(n, dtype=torch.float64, device=X.device) if weights is None else weights
        self._signed = torch.cat([each, -each])
        numbers = torch.arange(n, device=X.device)
        self._numbers = torch.cat([numbers, numbers])
        self.labels = torch.full((n,), -1, dtype=torch.int32, device=X.device)
        self.sums = torch.zeros(k, X.shape[1], dtype=torch.float64, device=X.device)
        self.total = torch.zeros(k, dtype=torch.float64, device=X.device)
        self.peak = torch.zeros(k, dtype=torch.float64, device=X.device)

    def tried(
        self, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Sums ``[k, d]``, weights ``[k]`` and peaks ``[k]`` for ``labels``, how many changed, whether they are sound.

        They are not where a cluster has shrunk so much that rounding may show: all must then be added up anew, which
        is left to who waits for it. Nothing is kept before :meth:`keep`, and nothing waits for the device.
        """
        changed = labels != self.labels
        count = changed.sum()
        anew = count > MOST * len(labels)
        gone = torch.full_like(labels, self._k)
        keys = torch.cat(
            [torch.where(changed | anew, labels, gone), torch.where(changed & ~anew, self.labels, gone)],
        )
        gained, weight = self._added(self._rows, self._numbers, keys, self._k, self._signed)
        sums = torch.where(anew, gained, self.sums + gained)
        total = torch.where(anew, weight, self.total + weight)
        empty = self._emptied(labels, total)
        sums, total = torch.where(empty[:, None], 0.0, sums), torch.where(empty, 0.0, total)
        # Where nothing changed, the very sums stay.
        same = count == 0
        sums, total = torch.where(same, self.sums, sums), torch.where(same, self.total, total)
        size = sums.abs().amax(dim=1)
        sound = anew | same | ~(size < SHRUNK * self.peak).any()
        return sums, total, torch.where(anew, size, torch.maximum(self.peak, size)), count, sound

    def keep(
        self, run: torch.Tensor, labels: torch.Tensor, sums: torch.Tensor, total: torch.Tensor, peak: torch.Tensor
    ) -> None:
        """Take over what was tried where ``run``, a tensor of one truth value."""
        for now, then in ((self.labels, labels), (self.sums, sums), (self.total, total), (self.peak, peak)):
            now.copy_(torch.where(run, then, now))

    def state(self) -> dict[str, torch.Tensor]:
        """As of :class:`~fastclust_kernels.update.device.DeviceSums`."""
        return {"sums": self.sums, "total": self.total, "peak": self.peak}

    def restore(self, state: dict[str, torch.Tensor], labels: torch.Tensor) -> None:
        """As of :class:`~fastclust_kernels.update.device.DeviceSums`; the tensors stay where they are."""
        for name, now in self.state().items():
            now.copy_(state[name])
        self.labels.copy_(labels)

    def _emptied(self, labels: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        """Clusters that have no rows: what is left there is rounding. Numbers of rows are exact, weights are not."""
        if self._weights is None:
            return total == 0
        counted = torch.where(self._weights > 0, labels, self._k).long()
        held = torch.zeros(self._k + 1, dtype=torch.bool, device=labels.device)
        return ~held.scatter(0, counted, value=True)[: self._k]
