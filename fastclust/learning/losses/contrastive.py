"""Contrastive loss on labels or mined pairs (Hadsell, Chopra, LeCun, CVPR 2006)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from fastclust.errors import InputTypeError
from fastclust.learning.losses.distances import pairwise_distances
from fastclust.learning.losses.pairs import (
    average_nonzero,
    check_hinge,
    check_inputs,
    hinge_term,
    label_masks,
    row_distances,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ContrastiveLoss"]


class ContrastiveLoss(nn.Module):
    """mean relu(d_p - pos_margin) over positive pairs + mean relu(neg_margin - d_n) over negative ones.

    Each mean is over the terms above zero, 0 where there are none. Distances are Euclidean and not squared.

    Parameters
    ----------
    pos_margin, neg_margin
        Distances within which positive, and beyond which negative, pairs are left alone.
    hinge
        "plain", or "squared": each term squared.
    normalize
        L2-normalise embeddings first.
    """

    def __init__(
        self, pos_margin: float = 0.0, neg_margin: float = 1.0, *, hinge: str = "plain", normalize: bool = True
    ) -> None:
        super().__init__()
        self.pos_margin = pos_margin
        self.neg_margin = neg_margin
        self.hinge = check_hinge(hinge)
        self.normalize = normalize

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        pair_weights: Tensor | tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        embeddings
            ``[N, d]``.
        labels
            ``[N]`` integers. Not looked at where ``indices_tuple`` is given.
        indices_tuple
            (anchor, positive, negative) triplets or (anchor, positive, anchor, negative) pairs; positives and
            negatives index ``ref_emb`` where that is given.
        ref_emb, ref_labels
            ``[M, d]`` and ``[M]``: the other side of the pairs.
        pair_weights
            Factors of the terms: ``[N, M]`` with labels, ``[T]`` with triplets, (``[P]``, ``[Q]``) with pairs.

        Raises
        ------
        InputError, InputTypeError
            Shapes that do not go together; neither labels nor an ``indices_tuple``.
        """
        check_inputs(embeddings, labels, indices_tuple, ref_emb, ref_labels)
        rows, others = _prepared(embeddings, ref_emb, self.normalize)
        if indices_tuple is None:
            assert labels is not None
            if isinstance(pair_weights, tuple):
                raise InputTypeError("pair_weights", "a tuple", "a tensor [N, M] where pairs come from labels")
            distances = pairwise_distances(rows, others)
            positive, negative = label_masks(labels, ref_labels)
            return average_nonzero(
                hinge_term(distances - self.pos_margin, self.hinge), positive, pair_weights
            ) + average_nonzero(hinge_term(self.neg_margin - distances, self.hinge), negative, pair_weights)
        targets = rows if others is None else others
        anchors, positives, anchors_too, negatives = (
            indices_tuple if len(indices_tuple) == 4 else (*indices_tuple[:2], indices_tuple[0], indices_tuple[2])
        )
        weights = pair_weights if isinstance(pair_weights, tuple) else (pair_weights, pair_weights)
        near = hinge_term(row_distances(rows[anchors], targets[positives]) - self.pos_margin, self.hinge)
        far = hinge_term(self.neg_margin - row_distances(rows[anchors_too], targets[negatives]), self.hinge)
        return average_nonzero(near, None, weights[0]) + average_nonzero(far, None, weights[1])


def _prepared(embeddings: Tensor, ref_emb: Tensor | None, normalize: bool) -> tuple[Tensor, Tensor | None]:
    """Normalise both sides where asked."""
    if not normalize:
        return embeddings, ref_emb
    rows = nn.functional.normalize(embeddings, dim=1)
    return rows, None if ref_emb is None else nn.functional.normalize(ref_emb, dim=1)
