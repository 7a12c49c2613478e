"""Distances between embeddings, differentiable and safe where two rows coincide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["pairwise_distances", "relative_distances", "squares_within"]


def pairwise_distances(rows: Tensor, others: Tensor | None = None, *, squared: bool = False) -> Tensor:
    """Return Euclidean distances ``[N, M]``; ``others`` None means among ``rows``, with an exactly zero diagonal.

    The gradient of a zero distance is zero. Rows are centred first: distances do not change, and the cancellation in
    |a|^2 + |b|^2 - 2 a.b shrinks with the norms.
    """
    centre = rows.mean(0)
    left = rows - centre
    if others is None and not rows.requires_grad:
        return squares_within(left) if squared else squares_within(left).sqrt_()
    right = left if others is None else others - centre
    square = left.square().sum(1)[:, None] + right.square().sum(1)[None, :] - 2 * left @ right.T
    square = square.clamp_min(0)
    if others is None:
        square = square * (1 - torch.eye(len(rows), dtype=rows.dtype, device=rows.device))
    if squared:
        return square
    positive = square > 0
    # sqrt has an infinite slope at 0: keep zeros out of it altogether, a mask afterwards would leave NaN.
    return torch.where(positive, torch.where(positive, square, 1).sqrt(), 0)


def relative_distances(embeddings: Tensor) -> Tensor:
    """Return D_ij = |s_i - s_j| / mean_j |s_i - s_j|, ``[N, N]``; the mean includes j = i and carries gradient."""
    distances = pairwise_distances(embeddings)
    return distances / distances.mean(1, keepdim=True).clamp_min(torch.finfo(distances.dtype).tiny)


def squares_within(centred: Tensor) -> Tensor:
    """Return squared distances ``[N, N]`` among rows whose mean was taken out, a new tensor; no gradient flows.

    The diagonal is exactly zero.
    """
    squares = centred.square().sum(1)
    found = torch.addmm(squares[None, :], centred, centred.T, alpha=-2).add_(squares[:, None])
    return found.clamp_min_(0).fill_diagonal_(0)
