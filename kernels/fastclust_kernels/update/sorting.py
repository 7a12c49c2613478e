"""Rows in the order of their clusters, cut into segments: what the kernels of a GPU add up. Nothing waits for it."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["SEGMENT", "Segments", "segments_of"]

#: Rows of one cluster that are added up together; fixed, so that the order of additions is.
SEGMENT = 512


class Segments(NamedTuple):
    """Where each segment is; there may be fewer than there is room for."""

    #: int64 [m]: places of the labels by cluster, those of one in their order.
    order: torch.Tensor
    #: int32 [k + 1]: where each cluster begins in the order; labels of k and more lie behind the last.
    starts: torch.Tensor
    #: int32 [k + 1]: number of the first segment of each cluster; the last is how many there are.
    first: torch.Tensor
    #: int32 [room]: cluster of each segment.
    owners: torch.Tensor
    room: int


def segments_of(labels: torch.Tensor, k: int) -> Segments:
    """Sort int32 ``labels`` ``[m]``, stably, and cut each of the k clusters into segments of at most SEGMENT rows."""
    m, where = len(labels), labels.device
    # A stable radix sort of small integers: rows of a cluster keep their order.
    ordered, order = torch.sort(labels, stable=True)
    starts = torch.searchsorted(ordered, torch.arange(k + 1, dtype=labels.dtype, device=where), out_int32=True)
    first = torch.zeros(k + 1, dtype=torch.int32, device=where)
    torch.cumsum(-(-starts.diff() // SEGMENT), dim=0, out=first[1:])
    room = m // SEGMENT + min(k, m)
    numbers = torch.arange(room, dtype=torch.int32, device=where)
    owners = torch.searchsorted(first[1:], numbers, right=True, out_int32=True).clamp_max(k - 1)
    return Segments(order, starts, first, owners, room)
