"""Fused GPU kernels for what torch does in many passes: spread, gather, attraction and all pairs.

Imported only where they are asked for. With TRITON_INTERPRET=1 set before the import, they run on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import triton
import triton.language as tl

from fastclust_kernels.devices import launches
from fastclust_kernels.tsne._torch import SCALE, Affinities, Grid

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KERNELS", "all_pairs", "gather", "pull", "spread"]

#: Points of a program that spreads or gathers.
_POINTS = 128
#: Neighbours that a row's program takes at a time: of perplexity 30 most rows have about so many.
_NEIGHBORS = 128
#: Tile of all pairs.
_ROWS, _OTHERS = 32, 64


@triton.jit
def _window(t):
    """Weights of the four nodes around a point at ``t`` in [0, 1) between the second and the third."""
    sixth: tl.constexpr = 1.0 / 6.0
    rest = 1 - t
    first, second = rest * rest * rest * sixth, (4 + t * t * (3 * t - 6)) * sixth
    return first, second, (1 + 3 * t * (1 + t * rest)) * sixth, t * t * t * sixth


@triton.jit
def spread_kernel(Y, n, low0, low1, inverse, scale, own, charges, columns, itself, POINTS: tl.constexpr):
    """Add charges as integers, so that sums do not depend on their order; each program's own energy to ``itself``."""
    i = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    there = i < n
    g0 = (tl.load(Y + 2 * i, mask=there, other=0.0) - low0) * inverse
    g1 = (tl.load(Y + 2 * i + 1, mask=there, other=0.0) - low1) * inverse
    f0, f1 = tl.floor(g0), tl.floor(g1)
    node = f0.to(tl.int64) * columns + f1.to(tl.int64)
    a0, a1, a2, a3 = _window(g0 - f0)
    b0, b1, b2, b3 = _window(g1 - f1)
    for k in tl.static_range(4):
        a = a0 if k == 0 else (a1 if k == 1 else (a2 if k == 2 else a3))
        for m in tl.static_range(4):
            b = b0 if m == 0 else (b1 if m == 1 else (b2 if m == 2 else b3))
            tl.atomic_add(charges + node + k * columns + m, (a * b * scale).to(tl.int64), mask=there, sem="relaxed")
    # Windows against themselves, shifted by 0 to 3 nodes, to either side.
    p0, p1 = a0 * a0 + a1 * a1 + a2 * a2 + a3 * a3, 2 * (a0 * a1 + a1 * a2 + a2 * a3)
    p2, p3 = 2 * (a0 * a2 + a1 * a3), 2 * a0 * a3
    q0, q1 = b0 * b0 + b1 * b1 + b2 * b2 + b3 * b3, 2 * (b0 * b1 + b1 * b2 + b2 * b3)
    q2, q3 = 2 * (b0 * b2 + b1 * b3), 2 * b0 * b3
    energy = tl.zeros([POINTS], tl.float32)
    for k in tl.static_range(4):
        p = p0 if k == 0 else (p1 if k == 1 else (p2 if k == 2 else p3))
        row = own + 4 * k
        energy += p * (q0 * tl.load(row) + q1 * tl.load(row + 1) + q2 * tl.load(row + 2) + q3 * tl.load(row + 3))
    tl.store(itself + tl.program_id(0), tl.sum(tl.where(there, energy, 0.0), axis=0))


@triton.jit
def gather_kernel(Y, n, low0, low1, inverse, across, along, columns, forces, POINTS: tl.constexpr):
    """Write both fields at the points."""
    i = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    there = i < n
    g0 = (tl.load(Y + 2 * i, mask=there, other=0.0) - low0) * inverse
    g1 = (tl.load(Y + 2 * i + 1, mask=there, other=0.0) - low1) * inverse
    f0, f1 = tl.floor(g0), tl.floor(g1)
    node = f0.to(tl.int64) * columns + f1.to(tl.int64)
    a0, a1, a2, a3 = _window(g0 - f0)
    b0, b1, b2, b3 = _window(g1 - f1)
    x, y = tl.zeros([POINTS], tl.float32), tl.zeros([POINTS], tl.float32)
    for k in tl.static_range(4):
        a = a0 if k == 0 else (a1 if k == 1 else (a2 if k == 2 else a3))
        for m in tl.static_range(4):
            b = b0 if m == 0 else (b1 if m == 1 else (b2 if m == 2 else b3))
            place = node + k * columns + m
            x += a * b * tl.load(across + place, mask=there, other=0.0)
            y += a * b * tl.load(along + place, mask=there, other=0.0)
    tl.store(forces + 2 * i, x, mask=there)
    tl.store(forces + 2 * i + 1, y, mask=there)


@triton.jit
def pull_kernel(pointers, indices, values, Y, forces, DIMENSIONS: tl.constexpr, NEIGHBORS: tl.constexpr):
    """Attraction of one row along its neighbours."""
    i = tl.program_id(0).to(tl.int64)
    start, end = tl.load(pointers + i), tl.load(pointers + i + 1)
    x = tl.load(Y + DIMENSIONS * i)
    y = tl.load(Y + DIMENSIONS * i + 1) if DIMENSIONS > 1 else 0.0
    z = tl.load(Y + DIMENSIONS * i + 2) if DIMENSIONS > 2 else 0.0
    fx, fy, fz = tl.zeros([NEIGHBORS], tl.float32), tl.zeros([NEIGHBORS], tl.float32), tl.zeros([NEIGHBORS], tl.float32)
    for first in range(start, end, NEIGHBORS):
        k = first + tl.arange(0, NEIGHBORS)
        there = k < end
        j = tl.load(indices + k, mask=there, other=0).to(tl.int64) * DIMENSIONS
        dx = x - tl.load(Y + j, mask=there, other=0.0)
        squared = 1 + dx * dx
        dy = dx * 0
        dz = dx * 0
        if DIMENSIONS > 1:
            dy = y - tl.load(Y + j + 1, mask=there, other=0.0)
            squared += dy * dy
        if DIMENSIONS > 2:
            dz = z - tl.load(Y + j + 2, mask=there, other=0.0)
            squared += dz * dz
        weight = tl.load(values + k, mask=there, other=0.0) / squared
        fx += weight * dx
        fy += weight * dy
        fz += weight * dz
    tl.store(forces + DIMENSIONS * i, tl.sum(fx, axis=0))
    if DIMENSIONS > 1:
        tl.store(forces + DIMENSIONS * i + 1, tl.sum(fy, axis=0))
    if DIMENSIONS > 2:
        tl.store(forces + DIMENSIONS * i + 2, tl.sum(fz, axis=0))


@triton.jit
def pairs_kernel(Y, n, forces, totals, DIMENSIONS: tl.constexpr, ROWS: tl.constexpr, OTHERS: tl.constexpr):
    """Repulsion of a block of rows from all points, and each row's part of Z."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    mine = i < n
    at = i.to(tl.int64) * DIMENSIONS
    x = tl.load(Y + at, mask=mine, other=0.0)
    y = tl.load(Y + at + 1, mask=mine, other=0.0) if DIMENSIONS > 1 else x * 0
    z = tl.load(Y + at + 2, mask=mine, other=0.0) if DIMENSIONS > 2 else x * 0
    total = tl.zeros([ROWS], tl.float32)
    fx, fy, fz = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
    for first in range(0, n, OTHERS):
        j = first + tl.arange(0, OTHERS)
        there = j < n
        other = j.to(tl.int64) * DIMENSIONS
        dx = x[:, None] - tl.load(Y + other, mask=there, other=0.0)[None, :]
        squared = 1 + dx * dx
        dy = dx * 0
        dz = dx * 0
        if DIMENSIONS > 1:
            dy = y[:, None] - tl.load(Y + other + 1, mask=there, other=0.0)[None, :]
            squared += dy * dy
        if DIMENSIONS > 2:
            dz = z[:, None] - tl.load(Y + other + 2, mask=there, other=0.0)[None, :]
            squared += dz * dz
        weight = tl.where(there[None, :] & (i[:, None] != j[None, :]), 1 / squared, 0.0)
        total += tl.sum(weight, axis=1)
        weight *= weight
        fx += tl.sum(weight * dx, axis=1)
        fy += tl.sum(weight * dy, axis=1)
        fz += tl.sum(weight * dz, axis=1)
    tl.store(totals + i, total, mask=mine)
    tl.store(forces + at, fx, mask=mine)
    if DIMENSIONS > 1:
        tl.store(forces + at + 1, fy, mask=mine)
    if DIMENSIONS > 2:
        tl.store(forces + at + 2, fz, mask=mine)


_POINT_TYPES = {"Y": "*fp32", "n": "i32", "low0": "fp32", "low1": "fp32", "inverse": "fp32", "columns": "i32"}
#: For compiling ahead of time: kernel, types of its arguments, constants, options of the launch.
KERNELS: Mapping[str, tuple[object, dict[str, str], dict[str, int], dict[str, int]]] = {
    "spread": (
        spread_kernel,
        _POINT_TYPES | {"scale": "fp32", "own": "*fp32", "charges": "*i64", "itself": "*fp32"},
        {"POINTS": _POINTS},
        {"num_warps": 4},
    ),
    "gather": (
        gather_kernel,
        _POINT_TYPES | {"across": "*fp32", "along": "*fp32", "forces": "*fp32"},
        {"POINTS": _POINTS},
        {"num_warps": 4},
    ),
    **{
        f"pull_{dimensions}": (
            pull_kernel,
            {"pointers": "*i64", "indices": "*i32", "values": "*fp32", "Y": "*fp32", "forces": "*fp32"},
            {"DIMENSIONS": dimensions, "NEIGHBORS": _NEIGHBORS},
            {"num_warps": 1},
        )
        for dimensions in (1, 2, 3)
    },
    **{
        f"pairs_{dimensions}": (
            pairs_kernel,
            {"Y": "*fp32", "n": "i32", "forces": "*fp32", "totals": "*fp32"},
            {"DIMENSIONS": dimensions, "ROWS": _ROWS, "OTHERS": _OTHERS},
            {"num_warps": 4},
        )
        for dimensions in (1, 2, 3)
    },
}


@launches
def spread(Y: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, float]:
    """Charges ``[rows, columns]`` of the points, and the sum of what the grid will say that each does to itself."""
    rows, columns = grid.shape.nodes
    charges = torch.zeros(rows, columns, dtype=torch.int64, device=Y.device)
    programs = triton.cdiv(len(Y), _POINTS)
    itself = torch.empty(programs, dtype=torch.float32, device=Y.device)
    spread_kernel[(programs,)](
        Y, len(Y), *_numbers(grid), SCALE, grid.own.float(), charges, columns, itself, POINTS=_POINTS
    )
    return (charges.double() / SCALE).float(), float(itself.sum(dtype=torch.float64))


@launches
def gather(Y: torch.Tensor, grid: Grid, across: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """Both fields ``[rows, columns]`` at the points ``[n, 2]``."""
    forces = torch.empty_like(Y)
    programs = triton.cdiv(len(Y), _POINTS)
    gather_kernel[(programs,)](Y, len(Y), *_numbers(grid), across, along, across.shape[1], forces, POINTS=_POINTS)
    return forces


def _numbers(grid: Grid) -> tuple[float, float, float]:
    shape = grid.shape
    return float(shape.low[0]), float(shape.low[1]), float(np.float32(1 / shape.spacing))


@launches
def pull(P: Affinities, Y: torch.Tensor) -> torch.Tensor:
    """``sum_j p_ij w_ij (y_i - y_j)`` ``[n, dimensions]``."""
    forces = torch.empty_like(Y)
    pull_kernel[(len(Y),)](*P, Y, forces, DIMENSIONS=Y.shape[1], NEIGHBORS=_NEIGHBORS, num_warps=1)
    return forces


@launches
def all_pairs(Y: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Unnormalised repulsion ``[n, dimensions]``, and Z."""
    forces = torch.empty_like(Y)
    totals = torch.empty(len(Y), dtype=torch.float32, device=Y.device)
    grid = (triton.cdiv(len(Y), _ROWS),)
    pairs_kernel[grid](Y, len(Y), forces, totals, DIMENSIONS=Y.shape[1], ROWS=_ROWS, OTHERS=_OTHERS)
    return forces, float(totals.sum(dtype=torch.float64))
