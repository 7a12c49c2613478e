"""The self-taught loss as the public implementation makes it, written by us: the peer of ours, in float64 its oracle.

What it shares with that: a loop over the rows of a batch which asks the tensors for each row's mutual neighbours, all
else by whole matrices; distances by ``torch.cdist``; each term of the loss makes its own distances, and each of the two
contrastive terms its own similarity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["loop_loss", "loop_similarity"]


def loop_similarity(teacher: Tensor, groups: Tensor, k: int, sigma: float) -> Tensor:
    """Return W ``[N, N]`` of Kim et al. (CVPR 2022), with a loop over rows for what neighbours share."""
    with torch.no_grad():
        unit = torch.nn.functional.normalize(teacher)
        near = torch.exp(-(torch.cdist(unit, unit) ** 2) / sigma)
        ranked = near.clone()
        ranked[groups[:, None] == groups[None, :]] = 1
        order = torch.topk(ranked, k).indices
        chosen = torch.zeros_like(near).scatter_(1, order, 1)
        mutual = chosen * chosen.T
        shared = torch.zeros_like(near)
        for row in range(len(teacher)):
            inside = mutual[row].nonzero().flatten()
            # Columns that the row's neighbours name, counted over all rows and then read at the neighbours.
            shared[row, inside] = (mutual[:, inside].sum(1) / len(inside))[inside]
        expanded = shared[order[:, : max(1, round(k / 2))]].mean(1)
        return (near + (expanded + expanded.T) / 2) / 2


def loop_loss(f: Tensor, g: Tensor, W: tuple[Tensor, Tensor], margin: float) -> Tensor:
    """Return (RC(f) + RC(g)) / 2 + KL by the formulas; ``W`` has the similarity for each of the two RC."""
    relaxed = [_relaxed(rows, similarity, margin) for rows, similarity in zip((f, g), W, strict=True)]
    learned = torch.log_softmax(-_relative(f), 1)
    taught = torch.softmax(-_relative(g).detach(), 1)
    distilled = torch.nn.functional.kl_div(learned, taught, reduction="sum") / len(f)
    return (relaxed[0] + relaxed[1]) / 2 + distilled


def _relaxed(rows: Tensor, W: Tensor, margin: float) -> Tensor:
    relative = _relative(rows)
    others = 1 - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    terms = W * others * relative**2 + (1 - W) * others * torch.relu(margin - relative) ** 2
    return terms.sum() / (len(rows) * (len(rows) - 1))


def _relative(rows: Tensor) -> Tensor:
    distances = torch.cdist(rows, rows)
    return distances / distances.mean(1, keepdim=True)
