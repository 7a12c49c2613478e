"""The update on a GPU: rows sorted by label, short segments added in order in float64, segments added in order.

No atomic additions of floating-point numbers, so the same labels give the same bits. Imported only where it is asked
for. With TRITON_INTERPRET=1 set before the import, the kernels run on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from fastclust_kernels.devices import launches
from fastclust_kernels.update.sorting import SEGMENT, segments_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KERNELS", "added"]

#: Rows that are added together, and columns of a program; segments that are added together.
_ROWS, _COLUMNS, _SEGMENTS = 32, 64, 16
#: With four warps numbers spill.
_LAUNCH = {"num_warps": 8}


@triton.jit(do_not_specialize=["n"])
def segment_kernel(
    X, d, rows, weights, n, starts, first_segments, owners, sums, totals,
    WEIGHTED: tl.constexpr, SEGMENT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Sum of one segment of one cluster, some columns of it: rows ``rows[start : end]`` of X, weighted or not."""
    segment = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    owner = tl.load(owners + segment)
    inside = (segment - tl.load(first_segments + owner)).to(tl.int64)
    # The last programs have no segment: there may be fewer than there is room for.
    begin = tl.minimum(tl.load(starts + owner) + inside * SEGMENT, n)
    end = tl.minimum(begin + SEGMENT, tl.load(starts + owner + 1))
    total = tl.zeros([COLUMNS], tl.float64)
    weight = tl.zeros([ROWS], tl.float64)
    for place in range(begin, end, ROWS):
        at = place + tl.arange(0, ROWS)
        there = at < end
        i = tl.load(rows + at, mask=there, other=0).to(tl.int64)
        x = tl.load(X + i[:, None] * d + column[None, :], mask=there[:, None] & (column < d)[None, :], other=0.0).to(
            tl.float64
        )
        if WEIGHTED:
            each = tl.load(weights + at, mask=there, other=0.0)
            x *= each[:, None]
            weight += each
        else:
            weight += there.to(tl.float64)
        total += tl.sum(x, axis=0)
    tl.store(sums + segment.to(tl.int64) * d + column, total, mask=column < d)
    if tl.program_id(1) == 0:
        tl.store(totals + segment, tl.sum(weight, axis=0))


@triton.jit
def combine_kernel(
    d, first_segments, partial, partial_totals, sums, totals, SEGMENTS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Sum of one cluster's segments, some columns of it, and its weight."""
    cluster = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros([COLUMNS], tl.float64)
    weight = tl.zeros([SEGMENTS], tl.float64)
    end = tl.load(first_segments + cluster + 1)
    for place in range(tl.load(first_segments + cluster), end, SEGMENTS):
        at = place + tl.arange(0, SEGMENTS)
        part = partial + at.to(tl.int64)[:, None] * d + column[None, :]
        total += tl.sum(tl.load(part, mask=(at < end)[:, None] & (column < d)[None, :], other=0.0), axis=0)
        weight += tl.load(partial_totals + at, mask=at < end, other=0.0)
    tl.store(sums + cluster.to(tl.int64) * d + column, total, mask=column < d)
    if tl.program_id(1) == 0:
        tl.store(totals + cluster, tl.sum(weight, axis=0))


@launches
def added(
    X: torch.Tensor, rows: torch.Tensor | None, labels: torch.Tensor, k: int, weights: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums ``[k, d]`` and weights ``[k]``, float64, of ``rows`` of X (None: all) by their ``labels``.

    ``weights`` are float64 ``[m]``, one for each of ``rows``. Nothing waits for the device.
    """
    m, d = len(labels), X.shape[1]
    where = X.device
    order, starts, first_segments, owners, room = segments_of(labels, k)
    partial = torch.empty(room, d, dtype=torch.float64, device=where)
    partial_totals = torch.empty(room, dtype=torch.float64, device=where)
    sums = torch.empty(k, d, dtype=torch.float64, device=where)
    totals = torch.empty(k, dtype=torch.float64, device=where)
    columns = triton.cdiv(d, _COLUMNS)
    segment_kernel[(room, columns)](
        *(X, d, order if rows is None else rows[order], order if weights is None else weights[order], m),
        *(starts, first_segments, owners, partial, partial_totals),
        WEIGHTED=weights is not None,
        SEGMENT=SEGMENT,
        ROWS=_ROWS,
        COLUMNS=_COLUMNS,
        **_LAUNCH,
    )
    combine_kernel[(k, columns)](
        d, first_segments, partial, partial_totals, sums, totals, SEGMENTS=_SEGMENTS, COLUMNS=_COLUMNS
    )
    return sums, totals


_TYPES = {
    "*fp32": ("X",),
    "*fp64": ("weights", "sums", "totals", "partial", "partial_totals"),
    "*i64": ("rows",),
    "*i32": ("starts", "first_segments", "owners"),
    "i32": ("n", "d"),
}
_ARGUMENTS = {name: kind for kind, names in _TYPES.items() for name in names}
#: For compiling ahead of time: kernel, types of its arguments, constants, options of the launch.
KERNELS: Mapping[str, tuple[object, dict[str, str], dict[str, int | bool], dict[str, int]]] = {
    **{
        f"segment{'_weighted' if weighted else ''}": (
            segment_kernel,
            _ARGUMENTS,
            {"WEIGHTED": weighted, "SEGMENT": SEGMENT, "ROWS": _ROWS, "COLUMNS": _COLUMNS},
            _LAUNCH,
        )
        for weighted in (False, True)
    },
    "combine": (combine_kernel, _ARGUMENTS, {"SEGMENTS": _SEGMENTS, "COLUMNS": _COLUMNS}, {}),
}
