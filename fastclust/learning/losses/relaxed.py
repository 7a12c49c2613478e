"""Losses of self-taught metric learning (Kim, Kim, Cho, Kwak, CVPR 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from fastclust.errors import InputError
from fastclust.learning.losses.checks import check_matrix
from fastclust.learning.losses.distances import relative_distances

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RelaxedContrastiveLoss", "SelfDistillationLoss"]


class RelaxedContrastiveLoss(nn.Module):
    """Contrastive loss with soft targets on relative distances.

    1 / (N (N - 1)) * sum over i != j of W_ij D_ij^2 + (1 - W_ij) relu(margin - D_ij)^2, where D_ij is the distance of
    i and j over the mean distance of i.

    Parameters
    ----------
    margin
        Distance, in units of the mean distance, beyond which dissimilar rows are left alone.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        if not margin > 0:
            raise InputError("margin", margin, "a number above 0")
        self.margin = margin

    def forward(self, embeddings: Tensor, W: Tensor) -> Tensor:
        """Return the loss, a scalar in the dtype of ``embeddings`` ``[N, d]``, N at least 2.

        ``W`` is ``[N, N]``, in [0, 1]. Raises InputError for other shapes.
        """
        check_matrix("embeddings", embeddings)
        rows = len(embeddings)
        if rows < 2:
            raise InputError("embeddings", f"{rows} row", "at least 2 rows")
        if W.shape != (rows, rows):
            raise InputError("W", f"shape {tuple(W.shape)}", f"({rows}, {rows})")
        distances = relative_distances(embeddings)
        terms = W * distances.square() + (1 - W) * torch.relu(self.margin - distances).square()
        return (terms.sum() - terms.diagonal().sum()) / (rows * (rows - 1))


class SelfDistillationLoss(nn.Module):
    """Teach the embedding the neighbourhood distribution of the wider one.

    mean_i KL(softmax(-D^g_i / temperature), held fixed || softmax(-D^f_i / temperature)), D being relative distances.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise InputError("temperature", temperature, "a number above 0")
        self.temperature = temperature

    def forward(self, student_f: Tensor, student_g: Tensor) -> Tensor:
        """Return the loss, a scalar in the dtype of ``student_f`` ``[N, d]``.

        No gradient reaches ``student_g`` ``[N, d2]``. Raises InputError for other shapes.
        """
        check_matrix("student_f", student_f)
        check_matrix("student_g", student_g)
        if len(student_f) != len(student_g):
            raise InputError("student_g", f"{len(student_g)} rows", f"{len(student_f)}, as many as student_f")
        target = torch.log_softmax(-relative_distances(student_g.detach()) / self.temperature, 1)
        found = torch.log_softmax(-relative_distances(student_f) / self.temperature, 1)
        return nn.functional.kl_div(found, target, reduction="batchmean", log_target=True)
