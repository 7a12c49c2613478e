"""Rows and centres as the screen of ``_triton`` multiplies them, and bounds on what they lost on the way.

Imported only where it is asked for. With TRITON_INTERPRET=1 set before the import, the kernels run on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from fastclust_kernels.assign.screening import PRODUCTS
from fastclust_kernels.devices import launches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastclust_kernels.assign.screening import Product

__all__ = ["KERNELS", "padded", "split"]

#: Rows and columns of what is split.
_ROWS, _COLUMNS = 32, 128
#: What the columns of wide rows are a multiple of.
_WIDE = 64


def padded(d: int, product: Product) -> int:
    """Columns of a copy: what tiles of the screen divide."""
    if d <= product.whole:
        return max(16, int(triton.next_power_of_2(d)))
    return -(-d // _WIDE) * _WIDE


@triton.jit
def _to_tf32(x):
    """Round float32 to the ten bits behind the point that matrix units read, so that it matters not how they round."""
    return ((x.to(tl.int32, bitcast=True) + 4096) & -8192).to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["n"])
def split_kernel(
    X, n, d, shift, scale, copies, rows, width, norms, losses, halves, WIDE: tl.constexpr, HALVES: tl.constexpr,
    TF32: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Rows moved, scaled and rounded; bounds on their lengths and on what rounding lost; half the squared lengths."""
    kind: tl.constexpr = tl.float64 if WIDE else tl.float32
    tiles = rows // BLOCK
    problem = (tl.program_id(0) // tiles).to(tl.int64)
    i = (tl.program_id(0) % tiles).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    at = problem * rows + i
    X += problem * n * d
    shift += problem * d
    there = i < n
    factor = tl.load(scale + problem).to(kind)
    kept = tl.zeros([BLOCK], tl.float32)
    lost = tl.zeros([BLOCK], tl.float32)
    squared = tl.zeros([BLOCK], tl.float64)
    for first in range(0, width, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        inside = there[:, None] & (j < d)[None, :]
        x = tl.load(X + i[:, None] * d + j[None, :], mask=inside, other=0.0).to(kind)
        middle = tl.load(shift + j, mask=j < d, other=0.0).to(kind)
        moved = tl.where(inside, (x - middle[None, :]) * factor, 0.0)
        place = copies + at[:, None] * (width * PARTS) + j[None, :]
        rounded = _to_tf32(moved.to(tl.float32)) if TF32 else moved.to(tl.float16)
        tl.store(place, rounded, mask=(j < width)[None, :])
        rest = moved - rounded.to(kind)
        whole = rounded.to(tl.float32)
        if PARTS == 2:
            low = rest.to(tl.float16)
            tl.store(place + width, low, mask=(j < width)[None, :])
            rest -= low.to(kind)
            whole += low.to(tl.float32)
        rest = rest.to(tl.float32)
        kept += tl.sum(whole * whole, axis=1)
        lost += tl.sum(rest * rest, axis=1)
        if HALVES:
            squared += tl.sum(moved.to(tl.float64) * moved.to(tl.float64), axis=1)
    # Sums of d squares in float32, rounded up; the floor covers squares that vanish.
    up = 1.0 + (d + 16) * 1.1920928955078125e-07
    norm = tl.sqrt(kept) * up + 1e-18
    tl.store(norms + at, norm)
    # x - m in float32 is off by a roundoff, or a few where it was scaled from subnormal numbers.
    tl.store(losses + at, tl.sqrt(lost) * up + (norm + tl.sqrt(lost)) * 1.2e-7 + 1e-18)
    if HALVES:
        tl.store(halves + at, tl.where(there, (0.5 * squared).to(tl.float32), 3.0e38))


@launches
def split(
    X: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, multiple: int, product: Product, *, halves: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """``(X - shift) scale`` for a product ``[b, m, parts * width]``, m a multiple; bounds ``[b, m]`` twice, half norms.

    ``X`` is ``[b, n, d]``, ``shift`` float64 ``[b, d]``, exact in the dtype of the arithmetic, ``scale`` float64
    ``[b]``, powers of two. Low halves stand behind high ones. Centres are split in float64, and what is no centre has a
    half norm that loses to all, yet finite, so that packing leaves it a number.
    """
    problems, n, d = X.shape
    width, rows = padded(d, product), -(-n // multiple) * multiple
    kind = torch.float32 if product.tf32 else torch.float16
    copies = torch.empty(problems, rows, product.parts * width, dtype=kind, device=X.device)
    figures = torch.empty(3, problems, rows, dtype=torch.float32, device=X.device)
    split_kernel[(problems * (rows // _ROWS),)](
        *(X, n, d, shift, scale, copies, rows, width, figures[0], figures[1], figures[2]),
        WIDE=halves or X.dtype == torch.float64,
        HALVES=halves,
        TF32=product.tf32,
        PARTS=product.parts,
        BLOCK=_ROWS,
        COLUMNS=min(_COLUMNS, width),
    )
    return copies, figures[0], figures[1], figures[2]


_ARGUMENTS = {
    **dict.fromkeys(("norms", "losses", "halves"), "*fp32"),
    **dict.fromkeys(("shift", "scale"), "*fp64"),
    **dict.fromkeys(("n", "d"), "i32"),
    **dict.fromkeys(("rows", "width"), "i32:16"),
}


def _compiled(
    product: Product, kind: str, *, halves: bool
) -> tuple[object, dict[str, str], dict[str, int | bool], dict[str, int]]:
    types = _ARGUMENTS | {"X": f"*{kind}", "copies": "*fp32" if product.tf32 else "*fp16"}
    how = {"WIDE": halves, "HALVES": halves, "TF32": product.tf32, "PARTS": product.parts}
    return split_kernel, types, how | {"BLOCK": _ROWS, "COLUMNS": _COLUMNS}, {}


#: For compiling ahead of time: kernel, types of its arguments, constants, options of the launch.
KERNELS: Mapping[str, tuple[object, dict[str, str], dict[str, int | bool], dict[str, int]]] = {
    **{f"split_{kind}": _compiled(PRODUCTS["half"], kind, halves=False) for kind in ("fp32", "fp16", "bf16")},
    "split_fp32_halves": _compiled(PRODUCTS["half"], "fp32", halves=True),
    **{
        f"split_fp32{'_halves' if halves else ''}_{name}": _compiled(PRODUCTS[name], "fp32", halves=halves)
        for name in ("tf32", "split")
        for halves in (False, True)
    },
}
