"""Mahalanobis distances on a GPU, in float64 on matrix units: as quick there as float32 is outside of them.

README.md, On a GPU. Imported only where it is asked for. With TRITON_INTERPRET=1 set before the import, the kernels run
on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from fastclust_kernels.devices import launches

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KERNELS", "MOST_KEPT", "components", "exact", "nearest", "padded", "pairs", "whiten"]

#: Columns that mapped rows have a multiple of, and that a product of mapped rows takes at a time.
_COLUMNS, _CHUNK = 32, 16
#: What maps: rows of a program, columns that it takes at a time, and columns of the result. The interpreter takes
#: as long for many numbers as for few.
_MAPS = {
    "cuda": {"ROWS": 32, "CHUNK": 16, "COLUMNS": 32},
    "cpu": {"ROWS": 512, "CHUNK": 128, "COLUMNS": 128},
}
#: Tile of pairs; tile of the nearest.
_ROWS, _OTHERS, _NEAR_ROWS, _NEAR_OTHERS = 64, 64, 32, 64
#: Ranks up to which pairs are taken by differences: no digits are lost, and there is no product to speak of.
_FEW = 8
#: Sixty-four numbers of float64 a thread are too many.
_WIDE = {"num_warps": 8}
#: Most candidates that a row keeps in registers.
MOST_KEPT = 64


def padded(rank: int) -> int:
    """Columns of mapped rows."""
    return -(-rank // _COLUMNS) * _COLUMNS


@triton.jit
def _mapped(
    X, i, there, Y, k, d, factor, rank, start,
    SHIFTED: tl.constexpr, UPPER: tl.constexpr, CHUNK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Columns of ``W^T (x_i - y_k)`` from ``start`` on, float64; with SHIFTED, k is one number for all.

    With UPPER there are zeros below W's diagonal, which are left out.
    """
    c = start + tl.arange(0, COLUMNS)
    total = tl.zeros([ROWS, COLUMNS], tl.float64)
    end = tl.minimum(d, start + COLUMNS) if UPPER else d
    for first in range(0, end, CHUNK):
        j = first + tl.arange(0, CHUNK)
        inside = there[:, None] & (j < d)[None, :]
        apart = tl.load(X + i[:, None] * d + j[None, :], mask=inside, other=0.0).to(tl.float64)
        if SHIFTED:
            apart -= tl.load(Y + k * d + j, mask=j < d, other=0.0).to(tl.float64)[None, :]
        else:
            apart -= tl.load(Y + k[:, None] * d + j[None, :], mask=inside, other=0.0).to(tl.float64)
        weights = tl.load(
            factor + j[:, None] * rank + c[None, :], mask=(j < d)[:, None] & (c < rank)[None, :], other=0.0
        )
        total = tl.dot(tl.where(inside, apart, 0.0), weights, total, out_dtype=tl.float64)
    return total


@triton.jit(do_not_specialize=["n"])
def whiten_kernel(
    X, n, d, shift, factor, rank, lengths, mapped, width, sizes, spreads,
    CHUNK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """``W^T (x - m)``, its squared length, and what rounding it may have cost: the length of x - m, weighted."""
    i = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    there = i < n
    size = tl.zeros([ROWS], tl.float64)
    for first in range(0, width, COLUMNS):
        c = first + tl.arange(0, COLUMNS)
        total = _mapped(
            X, i, there, shift, 0, d, factor, rank, first,
            SHIFTED=True, UPPER=False, CHUNK=CHUNK, ROWS=ROWS, COLUMNS=COLUMNS,
        )  # fmt: skip
        tl.store(mapped + i[:, None] * width + c[None, :], total, mask=there[:, None] & (c < width)[None, :])
        size += tl.sum(total * total, axis=1)
    tl.store(sizes + i, size, mask=there)
    spread = tl.zeros([ROWS], tl.float64)
    for first in range(0, d, CHUNK):
        j = first + tl.arange(0, CHUNK)
        inside = there[:, None] & (j < d)[None, :]
        x = tl.load(X + i[:, None] * d + j[None, :], mask=inside, other=0.0).to(tl.float64)
        x = (x - tl.load(shift + j, mask=j < d, other=0.0)[None, :]) * tl.load(lengths + j, mask=j < d, other=0.0)
        spread += tl.sum(tl.where(inside, x * x, 0.0), axis=1)
    tl.store(spreads + i, tl.sqrt(spread), mask=there)


@triton.jit
def _apart(
    A, sizes, i, mine, B, others, j, there, width,
    DIRECT: tl.constexpr, ROWS: tl.constexpr, OTHERS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Squared distances of mapped rows, as a product or by differences."""
    at, to = A + i.to(tl.int64)[:, None] * width, B + j.to(tl.int64)[:, None] * width
    column = tl.arange(0, CHUNK)
    if DIRECT:
        total = tl.zeros([ROWS, OTHERS], tl.float64)
        for c in range(DIRECT):
            a = tl.load(A + i.to(tl.int64) * width + c, mask=mine, other=0.0)
            b = tl.load(B + j.to(tl.int64) * width + c, mask=there, other=0.0)
            apart = a[:, None] - b[None, :]
            total += apart * apart
    else:
        product = tl.zeros([ROWS, OTHERS], tl.float64)
        for first in range(0, width, CHUNK):
            a = tl.load(at + (first + column)[None, :], mask=mine[:, None], other=0.0)
            b = tl.load(to + (first + column)[None, :], mask=there[:, None], other=0.0)
            product = tl.dot(a, tl.trans(b), product, out_dtype=tl.float64)
        size = tl.load(sizes + i, mask=mine, other=0.0)[:, None] + tl.load(others + j, mask=there, other=0.0)[None, :]
        total = size - 2 * product
    return total


@triton.jit(do_not_specialize=["n", "m"])
def pairs_kernel(
    A, sizes, losses, n, B, others, other_losses, m, width, share, out, doubtful, count, room,
    ROOT: tl.constexpr, DIRECT: tl.constexpr, ROWS: tl.constexpr, OTHERS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Distances ``[n, m]``; a list of the pairs (numbers in ``out``) that rounding may have cost too much."""
    i = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    j = tl.program_id(0) * OTHERS + tl.arange(0, OTHERS)
    mine, there = i < n, j < m
    both = mine[:, None] & there[None, :]
    total = _apart(A, sizes, i, mine, B, others, j, there, width, DIRECT, ROWS, OTHERS, CHUNK)
    least = (
        tl.load(losses + i, mask=mine, other=0.0)[:, None] + tl.load(other_losses + j, mask=there, other=0.0)[None, :]
    )
    if not DIRECT:
        size = tl.load(sizes + i, mask=mine, other=0.0)[:, None] + tl.load(others + j, mask=there, other=0.0)[None, :]
        least = tl.maximum(least, share * size)
    # Squares of float64 vanish below this; what is no number is in doubt too.
    doubt = both & ((total >= tl.maximum(least, 1e-290)) == 0)
    place = i.to(tl.int64)[:, None] * m + j[None, :]
    total = tl.maximum(total, 0.0)
    tl.store(out + place, tl.sqrt(total) if ROOT else total, mask=both)
    number = tl.sum(doubt.to(tl.int32), axis=1)
    found = tl.sum(number, axis=0)
    if found > 0:
        start = tl.atomic_add(count, found.to(tl.int64), sem="relaxed")
        before = (tl.cumsum(number, axis=0) - number)[:, None] + tl.cumsum(doubt.to(tl.int32), axis=1) - 1
        tl.store(doubtful + start + before, place, mask=doubt & (start + before < room))


@triton.jit(do_not_specialize=["count"])
def exact_kernel(
    X, Y, first, second, count, d, factor, rank, out, CHUNK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """``|W^T (x_i - y_j)|^2`` of listed pairs, from the original rows: float64."""
    place = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    there = place < count
    i, j = tl.load(first + place, mask=there, other=0), tl.load(second + place, mask=there, other=0)
    size = tl.zeros([ROWS], tl.float64)
    for start in range(0, rank, COLUMNS):
        total = _mapped(
            X, i, there, Y, j, d, factor, rank, start,
            SHIFTED=False, UPPER=False, CHUNK=CHUNK, ROWS=ROWS, COLUMNS=COLUMNS,
        )  # fmt: skip
        size += tl.sum(total * total, axis=1)
    tl.store(out + place, size, mask=there)


@triton.jit(do_not_specialize=["n"])
def components_kernel(
    X, n, d, means, factors, k, rank, out, ROOT: tl.constexpr,
    UPPER: tl.constexpr, CHUNK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """``|W_k^T (x - m_k)|`` of a block of rows and one component."""
    # One axis: the others end at 65,535 programs.
    program = tl.program_id(0).to(tl.int64)
    component = program % k
    i = (program // k) * ROWS + tl.arange(0, ROWS)
    there = i < n
    size = tl.zeros([ROWS], tl.float64)
    for start in range(0, rank, COLUMNS):
        factor = factors + component * d * rank
        total = _mapped(
            X, i, there, means, component, d, factor, rank, start,
            SHIFTED=True, UPPER=UPPER, CHUNK=CHUNK, ROWS=ROWS, COLUMNS=COLUMNS,
        )  # fmt: skip
        size += tl.sum(total * total, axis=1)
    tl.store(out + i * k + component, tl.sqrt(size) if ROOT else size, mask=there)


@triton.jit(do_not_specialize=["n", "m", "start"])
def nearest_kernel(
    A, sizes, n, B, others, m, width, start, values, numbers, OTHERS_ONLY: tl.constexpr, KEPT: tl.constexpr,
    DIRECT: tl.constexpr, ROWS: tl.constexpr, OTHERS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """The KEPT nearest of each row, in no order: squared distances and numbers; infinite and -1 is none."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    mine = i < n
    kept = tl.full([ROWS, KEPT], float("inf"), tl.float64)
    held = tl.full([ROWS, KEPT], -1, tl.int32)
    slot, lane = tl.arange(0, KEPT), tl.arange(0, OTHERS)
    worst = tl.full([ROWS], float("inf"), tl.float64)
    for first in range(0, m, OTHERS):
        j = first + lane
        there = j < m
        total = _apart(A, sizes, i, mine, B, others, j, there, width, DIRECT, ROWS, OTHERS, CHUNK)
        allowed = mine[:, None] & there[None, :]
        if OTHERS_ONLY:
            allowed = allowed & (j[None, :] != (start + i)[:, None])
        total = tl.where(allowed, total, float("inf"))
        least = tl.min(total, axis=1)
        # Most tiles have nothing nearer than what is kept.
        while tl.max((least < worst).to(tl.int32), axis=0) > 0:
            better = least < worst
            number = tl.min(tl.where(total == least[:, None], lane[None, :], OTHERS), axis=1)
            place = tl.min(tl.where(kept == worst[:, None], slot[None, :], KEPT), axis=1)
            takes = better[:, None] & (slot[None, :] == place[:, None])
            kept = tl.where(takes, least[:, None], kept)
            held = tl.where(takes, (first + number)[:, None], held)
            total = tl.where(better[:, None] & (lane[None, :] == number[:, None]), float("inf"), total)
            worst = tl.max(kept, axis=1)
            least = tl.min(total, axis=1)
    at = i.to(tl.int64)[:, None] * KEPT + slot[None, :]
    tl.store(values + at, kept, mask=mine[:, None])
    tl.store(numbers + at, held, mask=mine[:, None])


def _tile(rank: int) -> dict[str, int]:
    return {"DIRECT": rank if rank <= _FEW else 0, "CHUNK": _CHUNK}


@launches
def whiten(
    X: torch.Tensor, shift: torch.Tensor, factor: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``W^T (x - shift)`` as float64 ``[n, width]``, its squared length ``[n]``, the weighted length of x - shift."""
    (n, d), rank = X.shape, factor.shape[1]
    width, tile = padded(rank), _MAPS[X.device.type]
    mapped = torch.empty(n, width, dtype=torch.float64, device=X.device)
    sizes, spreads = (torch.empty(n, dtype=torch.float64, device=X.device) for _ in range(2))
    whiten_kernel[(triton.cdiv(n, tile["ROWS"]),)](
        *(X, n, d, shift, factor, rank, lengths, mapped, width, sizes, spreads),
        **tile,
    )
    return mapped, sizes, spreads


@launches
def pairs(
    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    others: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    rank: int,
    share: float,
    out: torch.Tensor,
    doubtful: torch.Tensor,
    count: torch.Tensor,
    *,
    root: bool,
) -> None:
    """Write ``out`` ``[n, m]`` from mapped rows, their squared lengths and losses; list pairs in doubt."""
    n, m = out.shape
    pairs_kernel[(triton.cdiv(m, _OTHERS), triton.cdiv(n, _ROWS))](
        *(*rows, n, *others, m, rows[0].shape[1], share, out, doubtful, count, len(doubtful)),
        ROOT=root,
        ROWS=_ROWS,
        OTHERS=_OTHERS,
        **_tile(rank),
        **_WIDE,
    )


@launches
def exact(
    X: torch.Tensor, Y: torch.Tensor, first: torch.Tensor, second: torch.Tensor, factor: torch.Tensor
) -> torch.Tensor:
    """Squared distances ``[p]`` of rows ``first`` of X to rows ``second`` of Y (int64 ``[p]``), from differences."""
    tile = _MAPS[X.device.type]
    out = torch.full((len(first),), torch.nan, dtype=torch.float64, device=X.device)
    exact_kernel[(triton.cdiv(len(first), tile["ROWS"]),)](
        # A number that stands for all of a list, as of a single row, is one in memory.
        *(X, Y, first.contiguous(), second.contiguous(), len(first), X.shape[1], factor, factor.shape[1], out),
        **tile,
    )
    return out


@launches
def components(
    X: torch.Tensor, means: torch.Tensor, factors: torch.Tensor, out: torch.Tensor, *, upper: bool, root: bool
) -> None:
    """Write distances ``[n, k]`` to components with ``factors`` ``[k, d, r]``."""
    (k, d, rank), tile = factors.shape, _MAPS[X.device.type]
    components_kernel[(k * triton.cdiv(len(X), tile["ROWS"]),)](
        *(X, len(X), d, means, factors, k, rank, out),
        ROOT=root,
        UPPER=upper,
        **tile,
    )


@launches
def nearest(
    rows: tuple[torch.Tensor, torch.Tensor],
    others: tuple[torch.Tensor, torch.Tensor],
    rank: int,
    start: int,
    kept: int,
    *,
    others_only: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``kept`` nearest of each row, a power of two, in no order: squared distances, float64; numbers, int32."""
    n, m = len(rows[0]), len(others[0])
    values = torch.empty(n, kept, dtype=torch.float64, device=rows[0].device)
    numbers = torch.empty(n, kept, dtype=torch.int32, device=rows[0].device)
    nearest_kernel[(triton.cdiv(n, _NEAR_ROWS),)](
        *(*rows, n, *others, m, rows[0].shape[1], start, values, numbers),
        OTHERS_ONLY=others_only,
        KEPT=kept,
        ROWS=_NEAR_ROWS,
        OTHERS=_NEAR_OTHERS,
        **_tile(rank),
        **_WIDE,
    )
    return values, numbers


_TYPES = {
    "*fp32": ("X", "Y", "out"),
    "*fp64": (
        *("shift", "factor", "factors", "lengths", "mapped", "sizes", "spreads", "A", "B", "losses", "others"),
        *("other_losses", "means", "values"),
    ),
    "*i64": ("doubtful", "count", "first", "second"),
    "*i32": ("numbers",),
    "fp32": ("share",),
    "i32:16": ("width",),
    "i32": ("n", "m", "d", "k", "rank", "start", "room"),
}
_ARGUMENTS = {name: kind for kind, names in _TYPES.items() for name in names}
_MAP = _MAPS["cuda"]
_PAIR = {"ROWS": _ROWS, "OTHERS": _OTHERS}
_NEAR = {"ROWS": _NEAR_ROWS, "OTHERS": _NEAR_OTHERS, "OTHERS_ONLY": True}
#: For compiling ahead of time: kernel, types of its arguments, constants, options of the launch.
KERNELS: Mapping[str, tuple[object, dict[str, str], dict[str, int | bool], dict[str, int]]] = {
    "whiten": (whiten_kernel, _ARGUMENTS, _MAP, {}),
    "exact": (exact_kernel, _ARGUMENTS | {"count": "i32", "out": "*fp64"}, _MAP, {}),
    "components": (components_kernel, _ARGUMENTS, _MAP | {"ROOT": True, "UPPER": False}, {}),
    "components_upper": (components_kernel, _ARGUMENTS, _MAP | {"ROOT": True, "UPPER": True}, {}),
    **{f"pairs_{rank}": (pairs_kernel, _ARGUMENTS, _PAIR | _tile(rank) | {"ROOT": True}, _WIDE) for rank in (4, 64)},
    **{
        f"nearest_{rank}_{kept}": (nearest_kernel, _ARGUMENTS, _NEAR | _tile(rank) | {"KEPT": kept}, _WIDE)
        for rank, kept in ((4, 16), (64, 16), (64, 64))
    },
}
