"""Pairs, triplets and averages that the supervised losses share. Nothing here waits for the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fastclust.errors import InputError, InputTypeError
from fastclust.learning.losses.checks import check_matrix, check_same_length

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["average_nonzero", "check_inputs", "hinge_term", "label_masks", "row_distances"]

_HINGES = ("plain", "squared")


def check_hinge(hinge: str) -> str:
    """Return ``hinge``. Raises InputError."""
    if hinge not in _HINGES:
        raise InputError("hinge", repr(hinge), ", ".join(_HINGES))
    return hinge


def hinge_term(values: Tensor, hinge: str) -> Tensor:
    """Return relu(values), squared for ``hinge`` "squared"."""
    positive = torch.relu(values)
    return positive.square() if hinge == "squared" else positive


def average_nonzero(terms: Tensor, mask: Tensor | None, weights: Tensor | None) -> Tensor:
    """Return the weighted sum of terms over the number of terms above 0; 0 where there are none."""
    if mask is not None:
        terms = torch.where(mask, terms, 0)
    active = (terms > 0).sum().clamp_min(1)
    return (terms if weights is None else terms * weights).sum() / active


def row_distances(left: Tensor, right: Tensor) -> Tensor:
    """Return |left_i - right_i|, ``[P]``, with a zero gradient where rows coincide."""
    square = (left - right).square().sum(1)
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1).sqrt(), 0)


def label_masks(labels: Tensor, ref_labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return which of all pairs are positive and which negative, both ``[N, M]`` bool; a row is no pair with itself."""
    same = labels[:, None] == (labels if ref_labels is None else ref_labels)[None, :]
    different = ~same
    if ref_labels is None:
        same = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same, different


def check_inputs(
    embeddings: Tensor,
    labels: Tensor | None,
    indices_tuple: tuple[Tensor, ...] | None,
    ref_emb: Tensor | None,
    ref_labels: Tensor | None,
) -> None:
    """Raise InputError or InputTypeError where what a supervised loss was given does not fit together."""
    check_matrix("embeddings", embeddings)
    if ref_emb is not None:
        check_matrix("ref_emb", ref_emb)
        if ref_emb.shape[1] != embeddings.shape[1]:
            raise InputError("ref_emb", f"{ref_emb.shape[1]} columns", f"{embeddings.shape[1]}, as in embeddings")
    if indices_tuple is None:
        if labels is None:
            raise InputError("labels", "None", "labels [N], or an indices_tuple")
        check_same_length("labels", labels, len(embeddings))
        if (ref_emb is None) != (ref_labels is None):
            raise InputError("ref_labels", "only one of ref_emb and ref_labels", "both or neither")
        if ref_emb is not None and ref_labels is not None:
            check_same_length("ref_labels", ref_labels, len(ref_emb))
    elif not isinstance(indices_tuple, tuple) or len(indices_tuple) not in (3, 4):
        raise InputTypeError(
            "indices_tuple",
            f"{type(indices_tuple).__name__} of {len(indices_tuple)}",
            "a tuple (anchor, positive, negative) or (anchor, positive, anchor, negative)",
        )
    else:
        check_same_length("indices_tuple[1]", indices_tuple[1], len(indices_tuple[0]))
        check_same_length(
            "indices_tuple[-1]", indices_tuple[-1], len(indices_tuple[-2 if len(indices_tuple) == 4 else 0])
        )
