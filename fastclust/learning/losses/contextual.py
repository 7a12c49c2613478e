"""Contextual similarity of a batch: how near two rows are, and how many neighbours they share.

Source: Kim, Kim, Cho, Kwak, "Self-Taught Metric Learning without Labels", CVPR 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fastclust.errors import InputError
from fastclust.learning.losses.checks import check_matrix
from fastclust.learning.losses.distances import pairwise_distances

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["contextual_similarity", "top_k"]

#: Up to this many pairs of neighbours of a row, per row of the batch, they are looked up one by one.
_PAIRS = 8
#: Up to this many pairs that rounding might have torn apart, per row of the batch, their distances are made one by one.
_CLOSE = 16


@torch.no_grad()
def contextual_similarity(teacher: Tensor, groups: Tensor, *, k: int, sigma: float, contextual: bool = True) -> Tensor:
    """Return the similarity W that a batch's embeddings should have by their teacher's, ``[N, N]``, in [0, 1].

    W = (W^P + W^C) / 2. W^P_ij = exp(-|t_i - t_j|^2 / sigma) on L2-normalised rows t. W^C is the share of mutual
    nearest neighbours that i and j have in common, averaged over the round(k / 2) nearest neighbours of i (i itself
    is the first unless a view of it stands before it) and made symmetric. Equal similarities go to the lowest index.

    Parameters
    ----------
    teacher
        ``[N, d]``; normalised here.
    groups
        ``[N]`` integers: equal for views of the same image, whose similarity counts as 1 in the ranking.
    k
        Neighbours, itself included: number of views times images that belong together.
    sigma
        Width of W^P.
    contextual
        False: return W^P alone.

    Raises
    ------
    InputError
        ``k`` outside 1..N, ``sigma`` not above 0, or shapes that do not fit.
    """
    check_matrix("teacher", teacher)
    rows = len(teacher)
    if groups.shape != (rows,):
        raise InputError("groups", f"shape {tuple(groups.shape)}", f"({rows},), one for each row of teacher")
    if not 1 <= k <= rows:
        raise InputError("k", k, f"1..{rows}, the rows of the batch")
    if not sigma > 0:
        raise InputError("sigma", sigma, "a number above 0")
    unit = torch.nn.functional.normalize(teacher, dim=1)
    near = _squares(unit).div_(-sigma).exp_()
    if not contextual:
        return near
    order = top_k(near.masked_fill(groups[:, None] == groups[None, :], 1), k)  # [N, k]
    first = max(1, round(k / 2))
    # A GPU adds what is scattered to one place in any order: products have the same bits each time.
    by_pairs = unit.device.type == "cpu" and k * k <= _PAIRS * rows
    shared = _shared_by_pairs if by_pairs else _shared_by_product
    expanded = shared(order, first, near)
    return near.add_(expanded + expanded.T, alpha=0.5).div_(2)


def _shared_by_pairs(order: Tensor, first: int, like: Tensor) -> Tensor:
    """Return the mean of C over the ``first`` neighbours of each row, ``[N, N]``, from pairs of a row's neighbours.

    C_ij = |R(i) & R(j)| / |R(i)| for j in R(i), the mutual neighbours of i, has at most k entries a row. They need
    k^2 look-ups a row.
    """
    rows = len(order)
    chosen = torch.zeros(rows, rows, dtype=torch.bool, device=order.device).scatter_(1, order, value=True)
    mutual = chosen & chosen.T
    own = mutual.gather(1, order)  # [N, k]
    both = mutual[order[:, :, None], order[:, None, :]] & own[:, None, :]
    # A row is missing from its own neighbours where k others tie with it at 1; its set may then be empty.
    entries = (own * both.sum(2)).to(like) / own.sum(1, keepdim=True).clamp_min(1)
    near = order[:, :first]
    columns = order[near].view(rows, -1)  # [N, first * k]
    return torch.zeros_like(like).scatter_add_(1, columns, entries[near].view(rows, -1) / first)


def _shared_by_product(order: Tensor, first: int, like: Tensor) -> Tensor:
    """Return the same from products of ``[N, N]`` matrices, for a ``k`` that is much of the batch."""
    chosen = torch.zeros_like(like).scatter_(1, order, 1)
    mutual = chosen * chosen.T
    shared = mutual * (mutual @ mutual) / mutual.sum(1, keepdim=True).clamp_min(1)
    return torch.zeros_like(like).scatter_(1, order[:, :first], 1 / first) @ shared


def _squares(unit: Tensor) -> Tensor:
    """Squared distances of unit rows, exactly zero for equal ones: a tie that rounding breaks is another neighbour."""
    square = pairwise_distances(unit, squared=True)
    within_rounding = square <= 2 * (unit.shape[1] + 8) * torch.finfo(unit.dtype).eps
    if unit.device.type == "cpu":
        pairs = within_rounding.nonzero()
        if len(pairs) <= _CLOSE * len(unit):
            left, right = pairs.unbind(1)
            square[left, right] = (unit[left] - unit[right]).square().sum(1)
            return square
    # A GPU is not asked how many pairs there are: the answer would cost more than all distances.
    exact = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist").square()
    return torch.where(within_rounding, exact, square)


def top_k(similarity: Tensor, k: int) -> Tensor:
    """Return the columns of the ``k`` largest values of each row, ``[N, k]``, largest first, ties to the lowest index.

    ``similarity`` must not be negative.
    """
    if similarity.dtype != torch.float32:
        return torch.sort(similarity, dim=1, descending=True, stable=True).indices[:, :k]
    # Bits of non-negative floats order as the floats do; the column below them makes every key distinct.
    columns = similarity.shape[1]
    low = torch.arange(columns - 1, -1, -1, device=similarity.device, dtype=torch.int64)
    keys = (similarity.contiguous().view(torch.int32).to(torch.int64) << 32) | low
    return columns - 1 - (torch.topk(keys, k, dim=1).values & 0xFFFFFFFF)
