"""The self-taught loss as the paper tells it, a row at a time: the peer of ours, and in float64 its oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["loop_loss", "loop_similarity"]


def loop_similarity(teacher: Tensor, groups: Tensor, k: int, sigma: float) -> Tensor:
    """Return W ``[N, N]`` of Kim et al. (CVPR 2022), with a loop over rows for the neighbours and one for their mean.

    Each row asks the tensors how many neighbours it has, as a loop over sets does.
    """
    unit = teacher / teacher.norm(dim=1, keepdim=True)
    near = torch.exp(-_squared(unit) / sigma)
    ranked = near.clone()
    ranked[groups[:, None] == groups[None, :]] = 1
    order = torch.sort(ranked, dim=1, descending=True, stable=True).indices[:, :k]
    count = len(teacher)
    chosen = torch.zeros_like(near)
    for row in range(count):
        chosen[row, order[row]] = 1
    mutual = torch.zeros_like(near)
    for row in range(count):
        mutual[row] = chosen[row] * chosen[:, row]
    shared = torch.zeros_like(near)
    for row in range(count):
        inside = mutual[row].nonzero().flatten()
        if len(inside):
            shared[row, inside] = (mutual[inside] * mutual[row]).sum(1) / len(inside)
    first = max(1, round(k / 2))
    expanded = torch.stack([shared[order[row, :first]].mean(0) for row in range(count)])
    return (near + (expanded + expanded.T) / 2) / 2


def loop_loss(f: Tensor, g: Tensor, similarity: Tensor, margin: float) -> Tensor:
    """Return (RC(f) + RC(g)) / 2 + KL by the formulas."""
    relative = [_relative(rows) for rows in (f, g)]
    others = ~torch.eye(len(f), dtype=torch.bool)
    relaxed = [(similarity * d**2 + (1 - similarity) * (margin - d).clamp_min(0) ** 2)[others].mean() for d in relative]
    taught = torch.log_softmax(-relative[1].detach(), 1)
    learned = torch.log_softmax(-relative[0], 1)
    return (relaxed[0] + relaxed[1]) / 2 + (taught.exp() * (taught - learned)).sum(1).mean()


def _relative(rows: Tensor) -> Tensor:
    squared = _squared(rows)
    # A root of 0 has no slope.
    distances = torch.where(squared > 0, squared.clamp_min(1e-30).sqrt(), squared)
    return distances / distances.mean(1, keepdim=True)


def _squared(rows: Tensor) -> Tensor:
    norms = (rows**2).sum(1)
    squared = (norms[:, None] + norms[None, :] - 2 * rows @ rows.T).clamp_min(0)
    return squared * (1 - torch.eye(len(rows), dtype=rows.dtype))
