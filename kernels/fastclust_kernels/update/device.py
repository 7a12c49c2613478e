"""Sums of the same rows again and again on a torch device, for labels of which few change: :mod:`moving` for a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastclust_kernels.update import _triton
from fastclust_kernels.update.moving import MOST, SHRUNK

__all__ = ["Added", "DeviceSums"]

#: Sums and weights of rows, a list of them, their labels, how many clusters, weights.
Added = Callable[[torch.Tensor, Any, torch.Tensor, int, Any], tuple[torch.Tensor, torch.Tensor]]


class DeviceSums:
    """Sums and weights of clusters, float64, from the rows that changed since the step before.

    The order of additions is fixed by the labels: the same labels give the same bits. Otherwise as
    :class:`~fastclust_kernels.update.moving.MovingSums`.

    Parameters
    ----------
    X
        C-contiguous ``[n, d]``; not copied.
    k
        Number of clusters.
    weights
        float64 ``[n]``, or None for one each.
    added
        What adds up: :func:`_triton.added`, or what does the same.
    """

    def __init__(self, X: torch.Tensor, k: int, weights: torch.Tensor | None, added: Added = _triton.added) -> None:
        self._added = added
        self._rows, self._k, self._weights = X, k, weights
        self._labels: torch.Tensor | None = None
        self._sums = torch.zeros(k, X.shape[1], dtype=torch.float64, device=X.device)
        self._total = torch.zeros(k, dtype=torch.float64, device=X.device)
        self._peak = torch.zeros(k, dtype=torch.float64, device=X.device)

    def step(self, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Return sums ``[k, d]``, weights ``[k]`` and how many labels differ from the step before; tensors to keep."""
        before, n = self._labels, len(labels)
        # One wait for the device: how many rows there are to add decides how.
        changed = None if before is None else (labels != before).nonzero()[:, 0]
        count = n if changed is None else len(changed)
        few = changed is not None and count <= MOST * n
        if few and count:
            assert changed is not None
            assert before is not None
            self._move(changed, before, labels)
        size = self._sums.abs().amax(dim=1)
        if not few or (count and bool((size < SHRUNK * self._peak).any())):
            self._sums, self._total = self._added(self._rows, None, labels, self._k, self._weights)
            size = self._peak = self._sums.abs().amax(dim=1)
        self._peak = torch.maximum(self._peak, size)
        self._labels = labels.clone()
        return self._sums.clone(), self._total.clone(), count

    def _move(self, changed: torch.Tensor, before: torch.Tensor, labels: torch.Tensor) -> None:
        """Take rows from the clusters they left to those they came to: the same sum, with signs."""
        each = torch.ones_like(changed, dtype=torch.float64) if self._weights is None else self._weights[changed]
        gained, total = self._added(
            self._rows,
            torch.cat([changed, changed]),
            torch.cat([labels[changed], before[changed]]),
            self._k,
            torch.cat([each, -each]),
        )
        self._sums += gained
        self._total += total
        # What is left of a cluster without rows is rounding. Numbers of rows are exact; sums of weights are not.
        if self._weights is None:
            empty = self._total == 0
        else:
            counted = torch.where(self._weights > 0, labels, self._k)
            held = torch.zeros(self._k + 1, dtype=torch.bool, device=labels.device)
            held[counted.long()] = True
            empty = ~held[: self._k]
        self._sums[empty] = 0.0
        self._total[empty] = 0.0

    def state(self) -> dict[str, torch.Tensor]:
        """What, with the labels, is needed to go on."""
        return {"sums": self._sums, "total": self._total, "peak": self._peak}

    def restore(self, state: dict[str, torch.Tensor], labels: torch.Tensor) -> None:
        """Go on from :meth:`state`, when rows had ``labels``."""
        self._sums, self._total, self._peak = (state[name].clone() for name in ("sums", "total", "peak"))
        self._labels = labels.clone()
