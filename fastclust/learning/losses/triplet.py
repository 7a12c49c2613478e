"""Triplet loss on labels or mined triplets (Schroff, Kalenichenko, Philbin, CVPR 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from fastclust.errors import InputTypeError
from fastclust.learning.losses.distances import pairwise_distances
from fastclust.learning.losses.pairs import check_hinge, check_inputs, hinge_term, label_masks, row_distances

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

__all__ = ["TripletLoss"]

#: Terms held at once where all triplets of a batch are formed.
_BLOCK = 1 << 22


class TripletLoss(nn.Module):
    """Mean of relu(d_ap - d_an + margin) over the triplets whose term is above zero; 0 where there are none.

    Parameters
    ----------
    margin
        How much further the negative should be than the positive.
    hinge
        "plain", or "squared": each term squared.
    squared_distances
        Compare squared distances, as mining on manifolds does.
    normalize
        L2-normalise embeddings first.
    """

    def __init__(
        self,
        margin: float = 0.05,
        *,
        hinge: str = "plain",
        squared_distances: bool = False,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.margin = margin
        self.hinge = check_hinge(hinge)
        self.squared_distances = squared_distances
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
            ``[N]`` integers: all triplets that they allow. Not looked at where ``indices_tuple`` is given.
        indices_tuple
            (anchor, positive, negative) triplets, or (anchor, positive, anchor, negative) pairs, of which every two
            with the same anchor make a triplet; positives and negatives index ``ref_emb`` where that is given.
        ref_emb, ref_labels
            ``[M, d]`` and ``[M]``: the other side of the pairs.
        pair_weights
            Factor of each triplet by its positive pair: ``[N, M]`` with labels, ``[T]`` with triplets, ``[P]`` with
            pairs.

        Raises
        ------
        InputError, InputTypeError
            Shapes that do not go together; neither labels nor an ``indices_tuple``.
        """
        check_inputs(embeddings, labels, indices_tuple, ref_emb, ref_labels)
        if isinstance(pair_weights, tuple):
            raise InputTypeError("pair_weights", "a tuple", "a tensor, one factor for each positive pair")
        rows = nn.functional.normalize(embeddings, dim=1) if self.normalize else embeddings
        others = nn.functional.normalize(ref_emb, dim=1) if ref_emb is not None and self.normalize else ref_emb
        if indices_tuple is None:
            assert labels is not None
            distances = pairwise_distances(rows, others, squared=self.squared_distances)
            masks = label_masks(labels, ref_labels)
            return _average(self._from_labels(distances, *masks, pair_weights))
        targets = rows if others is None else others
        near = self._distances(rows[indices_tuple[0]], targets[indices_tuple[1]])
        far = self._distances(rows[indices_tuple[-2 if len(indices_tuple) == 4 else 0]], targets[indices_tuple[-1]])
        if len(indices_tuple) == 3:
            return _average([self._sum(near - far, None, pair_weights)])
        return _average(self._from_pairs(near, far, indices_tuple[0], indices_tuple[2], pair_weights))

    def _distances(self, left: Tensor, right: Tensor) -> Tensor:
        return (left - right).square().sum(1) if self.squared_distances else row_distances(left, right)

    def _from_labels(
        self, distances: Tensor, positive: Tensor, negative: Tensor, weights: Tensor | None
    ) -> Iterable[tuple[Tensor, Tensor]]:
        """Yield sums over all (anchor, positive, negative), a block of anchors at a time."""
        rows, others = distances.shape
        step = max(1, _BLOCK // (others * others))
        for start in range(0, rows, step):
            part = slice(start, start + step)
            gap = distances[part, :, None] - distances[part, None, :]  # [anchors, positives, negatives]
            mask = positive[part, :, None] & negative[part, None, :]
            yield self._sum(gap, mask, None if weights is None else weights[part, :, None])

    def _from_pairs(
        self, near: Tensor, far: Tensor, anchors: Tensor, anchors_too: Tensor, weights: Tensor | None
    ) -> Iterable[tuple[Tensor, Tensor]]:
        """Yield sums over all positive and negative pairs of one anchor, a block of positive pairs at a time."""
        step = max(1, _BLOCK // max(1, len(far)))
        for start in range(0, max(1, len(near)), step):
            part = slice(start, start + step)
            mask = anchors[part, None] == anchors_too[None, :]
            yield self._sum(near[part, None] - far[None, :], mask, None if weights is None else weights[part, None])

    def _sum(self, gap: Tensor, mask: Tensor | None, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of terms, and how many are above zero."""
        terms = hinge_term(gap + self.margin, self.hinge)
        if mask is not None:
            terms = torch.where(mask, terms, 0)
        return (terms if weights is None else terms * weights).sum(), (terms > 0).sum()


def _average(sums: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    totals, counts = zip(*sums, strict=True)
    return torch.stack(totals).sum() / torch.stack(counts).sum().clamp_min(1)
