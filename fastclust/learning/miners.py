"""Triplets chosen from a batch with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fastclust.learning.losses.checks import check_matrix, check_same_length
from fastclust.learning.losses.distances import pairwise_distances

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HardestMiner"]


class HardestMiner:
    """For each row its furthest positive and its nearest negative, by distances of L2-normalised rows.

    Rows without either are left out, and so is every row whose label is -1 (unknown). Equal distances go to the
    lowest index. Source: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017.
    """

    @torch.no_grad()
    def __call__(
        self,
        embeddings: Tensor,
        labels: Tensor,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        confidence: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return (anchors, positives, negatives), each int64 ``[T]``, and the weight of each triplet, ``[T]``.

        The first three are an ``indices_tuple`` for a loss, the weights its ``pair_weights``.

        Parameters
        ----------
        embeddings, labels
            ``[N, d]`` floating, and ``[N]`` integers.
        ref_emb, ref_labels
            ``[M, d]`` and ``[M]``: where positives and negatives are looked for; the batch itself where not given.
        confidence
            ``[N]`` in [0, 1]: the weight of each anchor's triplet; 1 where not given.

        Raises
        ------
        InputError, InputTypeError
            Shapes or dtypes that do not fit.
        """
        check_matrix("embeddings", embeddings)
        check_same_length("labels", labels, len(embeddings))
        if confidence is not None:
            check_same_length("confidence", confidence, len(embeddings))
        unit = torch.nn.functional.normalize(embeddings, dim=1)
        if ref_emb is None:
            others, known = None, labels
        else:
            check_matrix("ref_emb", ref_emb)
            known = labels if ref_labels is None else ref_labels
            check_same_length("ref_labels", known, len(ref_emb))
            others = torch.nn.functional.normalize(ref_emb, dim=1)
        distances = pairwise_distances(unit, others)
        told = (labels >= 0)[:, None] & (known >= 0)[None, :]
        positive = told & (labels[:, None] == known[None, :])
        negative = told & ~positive
        if others is None:
            positive = positive & ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        furthest = distances.masked_fill(~positive, -1).argmax(1)
        nearest = distances.masked_fill(~negative, float("inf")).argmin(1)
        anchors = torch.nonzero(positive.any(1) & negative.any(1)).flatten()
        weights = distances.new_ones(len(unit)) if confidence is None else confidence
        return anchors, furthest[anchors], nearest[anchors], weights[anchors]
