"""Assignment on a GPU: a screen in half precision that knows its error; ``_triton_exact`` decides what it cannot.

README.md, On a GPU, has the bound. Imported only where it is asked for. With TRITON_INTERPRET=1 set before the import,
the kernels run on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from fastclust_kernels.assign import _triton_exact

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

__all__ = ["CENTERS", "KERNELS", "ROWS", "padded", "screen", "settle", "split"]

#: Tile of the screen: rows, centres (a power of two, at most 256: a place in it is packed into the score).
ROWS, CENTERS = 128, 128
#: Rows that are at most this wide stay in shared memory; wider ones come in slices of _SLICE columns.
_WHOLE, _SLICE = 256, 64
#: Rows and columns of what is split.
_SPLIT_ROWS, _SPLIT_COLUMNS = 32, 128
#: Programs that work off a list; on a GPU four or so to a multiprocessor, each of which takes many rows.
_WORKERS = {"cuda": 528, "cpu": 2}
#: Score of what is no centre: far below all others, yet finite, so that packing leaves it a number.
_NONE = 3.0e38


def padded(d: int) -> int:
    """Columns of the half-precision copy: what tiles of the screen divide."""
    if d <= _WHOLE:
        return max(16, int(triton.next_power_of_2(d)))
    return -(-d // _SLICE) * _SLICE


@triton.jit(do_not_specialize=["n"])
def split_kernel(
    X, n, d, shift, scale, half_rows, width, norms, losses, halves, WIDE: tl.constexpr, HALVES: tl.constexpr,
    BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Rows moved and scaled, in float16; bounds on their lengths and on what float16 lost; half the squared lengths."""
    kind: tl.constexpr = tl.float64 if WIDE else tl.float32
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    factor = tl.load(scale).to(kind)
    kept = tl.zeros([BLOCK], tl.float32)
    lost = tl.zeros([BLOCK], tl.float32)
    squared = tl.zeros([BLOCK], tl.float64)
    for first in range(0, width, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        inside = there[:, None] & (j < d)[None, :]
        x = tl.load(X + i[:, None] * d + j[None, :], mask=inside, other=0.0).to(kind)
        middle = tl.load(shift + j, mask=j < d, other=0.0).to(kind)
        moved = tl.where(inside, (x - middle[None, :]) * factor, 0.0)
        rounded = moved.to(tl.float16)
        tl.store(half_rows + i[:, None] * width + j[None, :], rounded, mask=(j < width)[None, :])
        rest = (moved - rounded.to(kind)).to(tl.float32)
        whole = rounded.to(tl.float32)
        kept += tl.sum(whole * whole, axis=1)
        lost += tl.sum(rest * rest, axis=1)
        if HALVES:
            squared += tl.sum(moved.to(tl.float64) * moved.to(tl.float64), axis=1)
    # Sums of d squares in float32, rounded up; the floor covers squares that vanish.
    up = 1.0 + (d + 16) * 1.1920928955078125e-07
    norm = tl.sqrt(kept) * up + 1e-18
    tl.store(norms + i, norm)
    # x - m in float32 is off by a roundoff, or a few where it was scaled from subnormal numbers.
    tl.store(losses + i, tl.sqrt(lost) * up + (norm + tl.sqrt(lost)) * 1.2e-7 + 1e-18)
    if HALVES:
        tl.store(halves + i, tl.where(there, (0.5 * squared).to(tl.float32), 3.0e38))


@triton.jit
def _placed(value, label, best, second, third, first_label, second_label):
    """Three best scores, and the labels of two, with one more score to take in."""
    over_first, over_second = value > best, value > second
    third = tl.where(over_second, second, tl.where(value > third, value, third))
    second_label = tl.where(over_first, first_label, tl.where(over_second, label, second_label))
    second = tl.where(over_first, best, tl.where(over_second, value, second))
    first_label = tl.where(over_first, label, first_label)
    best = tl.where(over_first, value, best)
    return best, second, third, first_label, second_label


@triton.jit
def _scored(
    half_rows, at, half_centers, halves, k, width,
    THREE: tl.constexpr, SLICES: tl.constexpr, ROWS: tl.constexpr, CENTERS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Best three scores (or two) of the rows ``at``, and the labels of the best two (or one)."""
    none: tl.constexpr = 3.0e38
    best = tl.full([ROWS], -none, tl.float32)
    second = tl.full([ROWS], -none, tl.float32)
    third = tl.full([ROWS], -none, tl.float32)
    first_label = tl.zeros([ROWS], tl.int32)
    second_label = tl.zeros([ROWS], tl.int32)
    lane = tl.arange(0, CENTERS)
    j = tl.arange(0, COLUMNS)
    if not SLICES:
        x = tl.load(half_rows + at[:, None] * width + j[None, :])
    for start in range(0, k, CENTERS):
        c = start + lane
        place = half_centers + c.to(tl.int64)[None, :] * width + j[:, None]
        if SLICES:
            product = tl.zeros([ROWS, CENTERS], tl.float32)
            for first in range(0, width, COLUMNS):
                part = tl.load(half_rows + at[:, None] * width + (first + j)[None, :])
                product = tl.dot(part, tl.load(place + first), product)
        else:
            product = tl.dot(x, tl.load(place))
        score = product - tl.load(halves + c)[None, :]
        # The lowest bits of a score hold its place in the tile.
        packed = ((score.to(tl.int32, bitcast=True) & -CENTERS) | lane[None, :]).to(tl.float32, bitcast=True)
        top = tl.max(packed, axis=1)
        left = tl.where(packed == top[:, None], -none, packed)
        label = start + (top.to(tl.int32, bitcast=True) & (CENTERS - 1))
        next_ = tl.max(left, axis=1)
        if THREE:
            best, second, third, first_label, second_label = _placed(
                top, label, best, second, third, first_label, second_label
            )
            left = tl.where(left == next_[:, None], -none, left)
            label = start + (next_.to(tl.int32, bitcast=True) & (CENTERS - 1))
            best, second, third, first_label, second_label = _placed(
                next_, label, best, second, third, first_label, second_label
            )
            third = tl.maximum(third, tl.max(left, axis=1))
        else:
            over = top > best
            second = tl.maximum(tl.maximum(second, next_), tl.minimum(top, best))
            first_label = tl.where(over, label, first_label)
            best = tl.maximum(best, top)
    return best, second, third, first_label, second_label


@triton.jit
def _doubt(norms, losses, at, figures, width, CENTERS: tl.constexpr):
    """By how much at most each packed score of the rows ``at`` is off: README.md, On a GPU."""
    row, lost = tl.load(norms + at), tl.load(losses + at)
    center, center_lost, half = tl.load(figures), tl.load(figures + 1), tl.load(figures + 2)
    product = row * center
    sums = product * ((width + 8) * 2.384185791015625e-07)
    bits = (product + half) * (1.05 * CENTERS * 1.1920928955078125e-07 + 5e-7)
    return (row * center_lost + lost * (center + center_lost) + sums + bits) * 1.001


@triton.jit(do_not_specialize=["n"])
def screen_kernel(
    half_rows, n, norms, losses, half_centers, halves, k, width, figures, labels, seconds, open_rows, count,
    SLICES: tl.constexpr, SECONDS: tl.constexpr, ROWS: tl.constexpr, CENTERS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Label of each row, and a list of the rows whose best two scores are too near each other."""
    i = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    best, second, _, label, _ = _scored(
        half_rows,
        i,
        half_centers,
        halves,
        k,
        width,
        THREE=False,
        SLICES=SLICES,
        ROWS=ROWS,
        CENTERS=CENTERS,
        COLUMNS=COLUMNS,
    )
    there = i < n
    doubt = _doubt(norms, losses, i, figures, width, CENTERS)
    tl.store(labels + i, label, mask=there)
    # What is no number is not certain.
    certain = best - second > 2 * doubt
    if SECONDS:
        # No other centre scores above this.
        tl.store(seconds + i, tl.where(certain, second, best) + doubt, mask=there)
    open_ = (there & (certain == 0)).to(tl.int32)
    place = tl.atomic_add(count, tl.sum(open_, axis=0), sem="relaxed") + tl.cumsum(open_, axis=0) - open_
    tl.store(open_rows + place, i, mask=open_ > 0)


@triton.jit
def again_kernel(
    half_rows, norms, losses, half_centers, halves, k, width, figures, open_rows, count, candidates, rivals,
    SLICES: tl.constexpr, ROWS: tl.constexpr, CENTERS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Two candidates of each row of the list, the second -1 where a third is not beyond doubt."""
    total = tl.load(count)
    for first in range(tl.program_id(0) * ROWS, total, tl.num_programs(0) * ROWS):
        place = first + tl.arange(0, ROWS)
        there = place < total
        i = tl.load(open_rows + place, mask=there, other=0).to(tl.int64)
        best, _, third, label, rival = _scored(
            half_rows,
            i,
            half_centers,
            halves,
            k,
            width,
            THREE=True,
            SLICES=SLICES,
            ROWS=ROWS,
            CENTERS=CENTERS,
            COLUMNS=COLUMNS,
        )
        certain = best - third > 2 * _doubt(norms, losses, i, figures, width, CENTERS)
        tl.store(candidates + place, label, mask=there)
        tl.store(rivals + place, tl.where(certain, rival, -1), mask=there)


def _shape(width: int) -> dict[str, int | bool]:
    """Slices of wide rows, or whole rows, and how deep loads run ahead."""
    slices = width > _WHOLE
    return {"SLICES": slices, "COLUMNS": _SLICE if slices else width}


def _launch(width: int) -> dict[str, int]:
    return {"num_warps": 8, "num_stages": 2 if 64 < width <= _WHOLE else 3}


def split(
    X: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, multiple: int, *, halves: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """``(X - shift) scale`` in float16 ``[m, width]``, m a multiple; its bounds ``[m]``, ``[m]``, half norms ``[m]``.

    ``shift`` is float64 ``[d]``, exact in the dtype of the arithmetic; ``scale`` float64 ``[1]``, a power of two.
    Centres are split in float64, and what is no centre has a half norm that loses to all.
    """
    import torch

    n, d = X.shape
    width, rows = padded(d), -(-n // multiple) * multiple
    half_rows = torch.empty(rows, width, dtype=torch.float16, device=X.device)
    figures = torch.empty(3, rows, dtype=torch.float32, device=X.device)
    split_kernel[(rows // _SPLIT_ROWS,)](
        *(X, n, d, shift, scale, half_rows, width, figures[0], figures[1], figures[2]),
        WIDE=halves or X.dtype == torch.float64,
        HALVES=halves,
        BLOCK=_SPLIT_ROWS,
        COLUMNS=min(_SPLIT_COLUMNS, width),
    )
    return half_rows, figures[0], figures[1], figures[2]


def screen(
    n: int,
    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    centers: tuple[torch.Tensor, torch.Tensor],
    figures: torch.Tensor,
    labels: torch.Tensor,
    seconds: torch.Tensor | None,
    open_rows: torch.Tensor,
    count: torch.Tensor,
) -> None:
    """Write labels of the first n ``rows`` (a split), and list those in doubt; ``seconds`` bounds other scores."""
    half_rows, norms, losses = rows
    width = half_rows.shape[1]
    screen_kernel[(len(half_rows) // ROWS,)](
        *(half_rows, n, norms, losses, *centers, len(centers[0]), width, figures, labels),
        *(labels if seconds is None else seconds, open_rows, count),
        SECONDS=seconds is not None,
        ROWS=ROWS,
        CENTERS=CENTERS,
        **_shape(width),
        **_launch(width),
    )


def settle(
    X: torch.Tensor,
    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    centers: torch.Tensor,
    split_centers: tuple[torch.Tensor, torch.Tensor],
    figures: torch.Tensor,
    labels: torch.Tensor,
    open_rows: torch.Tensor,
    count: torch.Tensor,
    candidates: torch.Tensor,
) -> None:
    """Decide the listed rows: two candidates by another screen, which float64 decides; else by all centres."""
    half_rows, norms, losses = rows
    width = half_rows.shape[1]
    workers = _WORKERS[X.device.type]
    again_kernel[(workers,)](
        *(half_rows, norms, losses, *split_centers, len(split_centers[0]), width, figures),
        *(open_rows, count, candidates[0], candidates[1]),
        ROWS=ROWS,
        CENTERS=CENTERS,
        **_shape(width),
        **_launch(width),
    )
    _triton_exact.decide(X, centers, labels, open_rows, count, candidates, 2 * workers)


_TYPES = {
    "*fp16": ("half_rows", "half_centers"),
    "*i32": ("labels", "open_rows", "count", "candidates", "rivals"),
    "*fp32": ("X", "norms", "losses", "halves", "figures", "seconds"),
    "*fp64": ("shift", "scale"),
    "i32:16": ("width", "k"),
    "i32": ("n", "d"),
}
_ARGUMENTS = {name: kind for kind, names in _TYPES.items() for name in names}
_TILE = {"ROWS": ROWS, "CENTERS": CENTERS}
#: For compiling ahead of time: kernel, types of its arguments, constants, options of the launch.
KERNELS: Mapping[str, tuple[object, dict[str, str], dict[str, int | bool], dict[str, int]]] = {
    **{
        f"split_{kind}{'_halves' if halves else ''}": (
            split_kernel,
            _ARGUMENTS | {"X": f"*{kind}"},
            {"WIDE": halves, "HALVES": halves, "BLOCK": _SPLIT_ROWS, "COLUMNS": _SPLIT_COLUMNS},
            {},
        )
        for kind, halves in (("fp32", False), ("fp32", True), ("fp16", False), ("bf16", False))
    },
    **{
        f"screen_{width}": (
            screen_kernel,
            _ARGUMENTS,
            _TILE | _shape(width) | {"SECONDS": False},
            _launch(width),
        )
        for width in (16, 64, 128, 256, 320)
    },
    **{f"again_{width}": (again_kernel, _ARGUMENTS, _TILE | _shape(width), _launch(width)) for width in (128, 320)},
    **_triton_exact.KERNELS,
}
