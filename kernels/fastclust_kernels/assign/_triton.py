"""Assignment on a GPU: a screen on matrix units that knows its error; ``_triton_exact`` decides what it cannot.

README.md, On a GPU, has the bound. Imported only where it is asked for. With TRITON_INTERPRET=1 set before the import,
the kernels run on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from fastclust_kernels.assign import _triton_exact, _triton_split
from fastclust_kernels.assign.screening import PRODUCTS
from fastclust_kernels.devices import launches

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from fastclust_kernels.assign.screening import Product

__all__ = ["CENTERS", "KERNELS", "ROWS", "screen", "settle"]

#: Tile of the screen: rows, centres (a power of two, at most 256: a place in it is packed into the score).
ROWS, CENTERS = 128, 128
#: Programs that work off a list; on a GPU four or so to a multiprocessor, each of which takes many rows.
_WORKERS = {"cuda": 528, "cpu": 2}


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
def _multiplied(
    copies, at, x, low, center_copies, c, width,
    PARTS: tl.constexpr, SLICES: tl.constexpr, ROWS: tl.constexpr, CENTERS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Products of the rows ``at`` (whole: ``x``, and its low half) with the centres ``c``.

    Of halves, the small products come first: only ``width`` additions are as large as the result.
    """
    j = tl.arange(0, COLUMNS)
    place = center_copies + c.to(tl.int64)[None, :] * (width * PARTS) + j[:, None]
    if SLICES:
        product = tl.zeros([ROWS, CENTERS], tl.float32)
        if PARTS == 2:
            for first in range(0, width, COLUMNS):
                part = copies + at[:, None] * (width * PARTS) + (first + j)[None, :]
                product = tl.dot(tl.load(part + width), tl.load(place + first), product, input_precision="tf32")
                product = tl.dot(tl.load(part), tl.load(place + width + first), product, input_precision="tf32")
        for first in range(0, width, COLUMNS):
            part = tl.load(copies + at[:, None] * (width * PARTS) + (first + j)[None, :])
            product = tl.dot(part, tl.load(place + first), product, input_precision="tf32")
    elif PARTS == 2:
        high = tl.load(place)
        product = tl.dot(low, high, input_precision="tf32")
        product = tl.dot(x, tl.load(place + width), product, input_precision="tf32")
        product = tl.dot(x, high, product, input_precision="tf32")
    else:
        product = tl.dot(x, tl.load(place), input_precision="tf32")
    return product


@triton.jit
def _top(score, lane, PACKED: tl.constexpr, CENTERS: tl.constexpr):
    """Largest score of each row, its place, and what is left; packed ones have the place in their lowest bits."""
    none: tl.constexpr = 3.0e38
    top = tl.max(score, axis=1)
    if PACKED:
        left = tl.where(score == top[:, None], -none, score)
        number = top.to(tl.int32, bitcast=True) & (CENTERS - 1)
    else:
        number = tl.min(tl.where(score == top[:, None], lane[None, :], CENTERS), axis=1)
        left = tl.where(lane[None, :] == number[:, None], -none, score)
    return top, number, left


@triton.jit
def _scored(
    copies, at, center_copies, halves, k, width, THREE: tl.constexpr, PARTS: tl.constexpr,
    SLICES: tl.constexpr, ROWS: tl.constexpr, CENTERS: tl.constexpr, COLUMNS: tl.constexpr,
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
    # Halves are so precise that a packed place would cost more than they do.
    PACKED: tl.constexpr = PARTS == 1
    x, low = 0, 0
    if not SLICES:
        place = copies + at[:, None] * (width * PARTS) + j[None, :]
        x = tl.load(place)
        if PARTS == 2:
            low = tl.load(place + width)
    for start in range(0, k, CENTERS):
        c = start + lane
        product = _multiplied(copies, at, x, low, center_copies, c, width, PARTS, SLICES, ROWS, CENTERS, COLUMNS)
        score = product - tl.load(halves + c)[None, :]
        if PACKED:
            score = ((score.to(tl.int32, bitcast=True) & -CENTERS) | lane[None, :]).to(tl.float32, bitcast=True)
        top, number, left = _top(score, lane, PACKED, CENTERS)
        label = start + number
        if THREE:
            next_, number, left = _top(left, lane, PACKED, CENTERS)
            best, second, third, first_label, second_label = _placed(
                top, label, best, second, third, first_label, second_label
            )
            best, second, third, first_label, second_label = _placed(
                next_, start + number, best, second, third, first_label, second_label
            )
            third = tl.maximum(third, tl.max(left, axis=1))
        else:
            over = top > best
            second = tl.maximum(tl.maximum(second, tl.max(left, axis=1)), tl.minimum(top, best))
            first_label = tl.where(over, label, first_label)
            best = tl.maximum(best, top)
    return best, second, third, first_label, second_label


@triton.jit
def _doubt(norms, losses, at, figures, width, PARTS: tl.constexpr, CENTERS: tl.constexpr):
    """By how much at most each score of the rows ``at`` is off: README.md, On a GPU."""
    row, lost = tl.load(norms + at), tl.load(losses + at)
    center, center_lost, half = tl.load(figures), tl.load(figures + 1), tl.load(figures + 2)
    product = row * center
    split = row * center_lost + lost * (center + center_lost)
    if PARTS == 2:
        # Lengths of low halves: float16's roundoff, or half of its least number.
        low = (row + lost) * 4.9e-4 + width * 1e-7
        center_low = (center + center_lost) * 4.9e-4 + width * 1e-7
        split += low * center_low
        small = low * (center + center_low) + row * center_low
        sums = ((width + 8) * product + (3 * width + 16) * small) * 2.4079e-07
        bits = (product + half) * 5e-7
    else:
        sums = product * ((width + 8) * 2.384185791015625e-07)
        bits = (product + half) * (1.05 * CENTERS * 1.1920928955078125e-07 + 5e-7)
    return (split + sums + bits) * 1.001


@triton.jit(do_not_specialize=["n"])
def screen_kernel(
    copies, n, rows, norms, losses, center_copies, halves, k, width, figures, labels, seconds, open_rows, count,
    PARTS: tl.constexpr, SLICES: tl.constexpr, SECONDS: tl.constexpr,
    ROWS: tl.constexpr, CENTERS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Label of each row, and a list of the rows whose best two scores are too near each other."""
    tiles = rows // ROWS
    problem = (tl.program_id(0) // tiles).to(tl.int64)
    i = (tl.program_id(0) % tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    at = problem * rows + i
    best, second, _, label, _ = _scored(
        copies,
        at,
        center_copies + problem * k * (width * PARTS),
        halves + problem * k,
        k,
        width,
        THREE=False,
        PARTS=PARTS,
        SLICES=SLICES,
        ROWS=ROWS,
        CENTERS=CENTERS,
        COLUMNS=COLUMNS,
    )
    there = i < n
    doubt = _doubt(norms, losses, at, figures + problem * 3, width, PARTS, CENTERS)
    tl.store(labels + problem * n + i, label, mask=there)
    # What is no number is not certain.
    certain = best - second > 2 * doubt
    if SECONDS:
        # No other centre scores above this.
        tl.store(seconds + problem * n + i, tl.where(certain, second, best) + doubt, mask=there)
    open_ = (there & (certain == 0)).to(tl.int32)
    place = tl.atomic_add(count + problem, tl.sum(open_, axis=0), sem="relaxed") + tl.cumsum(open_, axis=0) - open_
    tl.store(open_rows + problem * n + place, i, mask=open_ > 0)


@triton.jit(do_not_specialize=["n", "workers"])
def again_kernel(
    copies, n, rows, norms, losses, center_copies, halves, k, width, figures, open_rows, count, candidates, rivals,
    workers,
    PARTS: tl.constexpr, SLICES: tl.constexpr, ROWS: tl.constexpr, CENTERS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Two candidates of each row of the list, the second -1 where a third is not beyond doubt."""
    problem = (tl.program_id(0) // workers).to(tl.int64)
    open_rows += problem * n
    candidates += problem * n
    rivals += problem * n
    total = tl.load(count + problem)
    for first in range(tl.program_id(0) % workers * ROWS, total, workers * ROWS):
        place = first + tl.arange(0, ROWS)
        there = place < total
        at = problem * rows + tl.load(open_rows + place, mask=there, other=0)
        best, _, third, label, rival = _scored(
            copies,
            at,
            center_copies + problem * k * (width * PARTS),
            halves + problem * k,
            k,
            width,
            THREE=True,
            PARTS=PARTS,
            SLICES=SLICES,
            ROWS=ROWS,
            CENTERS=CENTERS,
            COLUMNS=COLUMNS,
        )
        certain = best - third > 2 * _doubt(norms, losses, at, figures + problem * 3, width, PARTS, CENTERS)
        tl.store(candidates + place, label, mask=there)
        tl.store(rivals + place, tl.where(certain, rival, -1), mask=there)


def _shape(width: int, product: Product, whole: int) -> dict[str, int | bool]:
    """Slices of rows wider than ``whole``, or whole rows."""
    slices = width > whole
    return {"PARTS": product.parts, "SLICES": slices, "COLUMNS": product.slice if slices else width}


def _launch(width: int, whole: int) -> dict[str, int]:
    """How deep loads run ahead."""
    return {"num_warps": 8, "num_stages": 2 if whole // 4 < width <= whole else 3}


def _whole(product: Product, kernel: object) -> int:
    """Widest rows that stay whole: three best scores leave registers for half of them."""
    return product.whole if kernel is screen_kernel else product.whole // 2


@launches
def screen(
    product: Product,
    n: int,
    rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    centers: tuple[torch.Tensor, torch.Tensor],
    figures: torch.Tensor,
    labels: torch.Tensor,
    seconds: torch.Tensor | None,
    open_rows: torch.Tensor,
    count: torch.Tensor,
) -> None:
    """Write labels of the first n ``rows`` (a split) of each problem, and list those in doubt.

    ``seconds`` bounds other scores.
    """
    copies, norms, losses = rows
    problems, padded, pitch = copies.shape
    width = pitch // product.parts
    screen_kernel[(problems * (padded // ROWS),)](
        *(copies, n, padded, norms, losses, *centers, centers[0].shape[1], width, figures, labels),
        *(labels if seconds is None else seconds, open_rows, count),
        SECONDS=seconds is not None,
        ROWS=ROWS,
        CENTERS=CENTERS,
        **_shape(width, product, _whole(product, screen_kernel)),
        **_launch(width, _whole(product, screen_kernel)),
    )


@launches
def settle(
    product: Product,
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
    copies, norms, losses = rows
    problems, padded, pitch = copies.shape
    width = pitch // product.parts
    whole = _whole(product, again_kernel)
    workers = -(-_WORKERS[X.device.type] // problems)
    again_kernel[(problems * workers,)](
        *(copies, X.shape[1], padded, norms, losses, *split_centers, split_centers[0].shape[1], width, figures),
        *(open_rows, count, candidates[0], candidates[1], workers),
        ROWS=ROWS,
        CENTERS=CENTERS,
        **_shape(width, product, whole),
        **_launch(width, whole),
    )
    _triton_exact.decide(X, centers, labels, open_rows, count, candidates, 2 * workers)


_TYPES = {
    "*fp16": ("copies", "center_copies"),
    "*i32": ("labels", "open_rows", "count", "candidates", "rivals"),
    "*fp32": ("norms", "losses", "halves", "figures", "seconds"),
    "i32:16": ("rows", "width", "k"),
    "i32": ("n", "workers"),
}
_ARGUMENTS = {name: kind for kind, names in _TYPES.items() for name in names}
_TILE = {"ROWS": ROWS, "CENTERS": CENTERS}
#: Widths that are compiled ahead of time, by product: of the screen, and of what screens again.
_WIDTHS = {
    "half": ((16, 64, 128, 256, 320), (128, 320)),
    "tf32": ((16, 64, 128, 320), (128, 320)),
    "split": ((16, 64, 128, 320), (128, 320)),
}


def _compiled(
    name: str, kernel: object, width: int, **constants: bool
) -> tuple[object, dict[str, str], dict[str, int | bool], dict[str, int]]:
    product = PRODUCTS[name]
    types = _ARGUMENTS | dict.fromkeys(("copies", "center_copies"), "*fp32" if product.tf32 else "*fp16")
    whole = _whole(product, kernel)
    return kernel, types, _TILE | _shape(width, product, whole) | constants, _launch(width, whole)


#: For compiling ahead of time: kernel, types of its arguments, constants, options of the launch.
KERNELS: Mapping[str, tuple[object, dict[str, str], dict[str, int | bool], dict[str, int]]] = {
    **_triton_split.KERNELS,
    **{
        f"screen_{width}{'' if name == 'half' else f'_{name}'}": _compiled(name, screen_kernel, width, SECONDS=False)
        for name, (widths, _) in _WIDTHS.items()
        for width in widths
    },
    **{
        f"again_{width}{'' if name == 'half' else f'_{name}'}": _compiled(name, again_kernel, width)
        for name, (_, widths) in _WIDTHS.items()
        for width in widths
    },
    **_triton_exact.KERNELS,
}
