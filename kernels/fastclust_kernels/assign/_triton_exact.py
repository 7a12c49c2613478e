"""Assignment on a GPU, in float64: what the screen of ``_triton`` leaves undecided, and distances to given centres.

Imported only where it is asked for. With TRITON_INTERPRET=1 set before the import, the kernels run on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from fastclust_kernels.devices import launches

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

__all__ = ["KERNELS", "decide", "own"]

#: Centres and columns of a tile of distances to all; rows and columns of one to given centres.
_CENTERS, _COLUMNS, _OWN_ROWS, _OWN_COLUMNS = 64, 32, 16, 64
#: With four warps numbers spill.
_SETTLING = {"num_warps": 8}


@triton.jit
def _apart(X, i, centers, c, inside, d, CENTERS: tl.constexpr, COLUMNS: tl.constexpr):
    """Squared distances of row i to the centres ``c``, by differences in float64."""
    total = tl.zeros([CENTERS], tl.float64)
    for first in range(0, d, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        x = tl.load(X + i * d + j, mask=j < d, other=0.0).to(tl.float64)
        y = tl.load(
            centers + c.to(tl.int64)[:, None] * d + j[None, :], mask=inside[:, None] & (j < d)[None, :], other=0.0
        ).to(tl.float64)
        apart = x[None, :] - y
        total += tl.sum(apart * apart, axis=1)
    return tl.where(inside, total, float("inf"))


@triton.jit(do_not_specialize=["n", "workers"])
def settle_kernel(
    X, n, centers, k, d, open_rows, count, candidates, rivals, labels, workers,
    CENTERS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Labels of the listed rows by differences in float64: of two candidates or of all; the lowest on a tie."""
    lane = tl.arange(0, CENTERS)
    problem = (tl.program_id(0) // workers).to(tl.int64)
    X += problem * n * d
    centers += problem * k * d
    open_rows += problem * n
    candidates += problem * n
    rivals += problem * n
    labels += problem * n
    total = tl.load(count + problem)
    for place in range(tl.program_id(0) % workers, total, workers):
        i = tl.load(open_rows + place).to(tl.int64)
        one, two = tl.load(candidates + place), tl.load(rivals + place)
        low, high = tl.minimum(one, two), tl.maximum(one, two)
        few = two >= 0
        # Two candidates are two lanes, the lower first; else all centres come by.
        nearest = tl.full([], float("inf"), tl.float64)
        label = tl.zeros([], tl.int32)
        for first in range(0, tl.where(few, 2, k), CENTERS):
            c = tl.where(few, tl.where(lane == 0, low, high), first + lane)
            inside = first + lane < tl.where(few, 2, k)
            apart = _apart(X, i, centers, c, inside, d, CENTERS, COLUMNS)
            least = tl.min(apart, axis=0)
            found = tl.min(tl.where(apart == least, c, 2147483647), axis=0)
            label = tl.where(least < nearest, found, label)
            nearest = tl.minimum(nearest, least)
        tl.store(labels + i, label)


@triton.jit(do_not_specialize=["n"])
def own_kernel(X, n, d, centers, k, labels, distances, BLOCK: tl.constexpr, COLUMNS: tl.constexpr):
    """Squared distance of each row to the centre of its label, by differences in float64."""
    tiles = tl.cdiv(n, BLOCK)
    problem = (tl.program_id(0) // tiles).to(tl.int64)
    i = (tl.program_id(0) % tiles).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = i < n
    i += problem * n
    centers += problem * k * d
    c = tl.load(labels + i, mask=there, other=0).to(tl.int64)
    total = tl.zeros([BLOCK], tl.float64)
    for first in range(0, d, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        inside = there[:, None] & (j < d)[None, :]
        x = tl.load(X + i[:, None] * d + j[None, :], mask=inside, other=0.0).to(tl.float64)
        apart = x - tl.load(centers + c[:, None] * d + j[None, :], mask=inside, other=0.0).to(tl.float64)
        total += tl.sum(apart * apart, axis=1)
    tl.store(distances + i, total, mask=there)


@launches
def decide(
    X: torch.Tensor,
    centers: torch.Tensor,
    labels: torch.Tensor,
    open_rows: torch.Tensor,
    count: torch.Tensor,
    candidates: torch.Tensor,
    workers: int,
) -> None:
    """Write labels of the listed rows: the nearer of two ``candidates`` int32 ``[2, b, n]``, or of all centres."""
    problems, n, d = X.shape
    settle_kernel[(problems * workers,)](
        *(X, n, centers, centers.shape[1], d, open_rows, count, candidates[0], candidates[1], labels, workers),
        CENTERS=_CENTERS,
        COLUMNS=_COLUMNS,
        **_SETTLING,
    )


@launches
def own(X: torch.Tensor, centers: torch.Tensor, labels: torch.Tensor, distances: torch.Tensor) -> None:
    """Write squared distances, float64 ``[b, n]``, to the centres of the labels."""
    problems, n, d = X.shape
    own_kernel[(problems * triton.cdiv(n, _OWN_ROWS),)](
        X, n, d, centers, centers.shape[1], labels, distances, BLOCK=_OWN_ROWS, COLUMNS=_OWN_COLUMNS
    )


_ARGUMENTS = {
    **dict.fromkeys(("X", "centers"), "*fp32"),
    **dict.fromkeys(("labels", "open_rows", "count", "candidates", "rivals"), "*i32"),
    "distances": "*fp64",
    **dict.fromkeys(("n", "d", "k", "workers"), "i32"),
}
#: For compiling ahead of time: kernel, types of its arguments, constants, options of the launch.
KERNELS: Mapping[str, tuple[object, dict[str, str], dict[str, int | bool], dict[str, int]]] = {
    "settle": (settle_kernel, _ARGUMENTS, {"CENTERS": _CENTERS, "COLUMNS": _COLUMNS}, _SETTLING),
    "own": (own_kernel, _ARGUMENTS, {"BLOCK": _OWN_ROWS, "COLUMNS": _OWN_COLUMNS}, {}),
}
