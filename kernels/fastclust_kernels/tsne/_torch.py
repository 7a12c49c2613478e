"""Forces on a device by torch: FFTs by cuFFT on a GPU. Runs on any torch device, so that the CPU can test it.

Charges are summed as integers, so that sums do not depend on the order in which threads meet: the same bits each time.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from fastclust_kernels.tsne._grid import sharpening

if TYPE_CHECKING:
    from fastclust_kernels.tsne._grid import Shape

__all__ = ["SCALE", "Affinities", "Grid", "all_pairs", "gather", "grid_of", "pull", "spread", "spread_cost", "window"]

#: A charge of 1 as an integer; ten million charges on one node fit into 63 bits.
SCALE = 2.0**30
#: Entries of temporary arrays.
_CELLS = 2**24


class Affinities(NamedTuple):
    """P in compressed rows: int64 [n + 1], int32 [nonzeros], float32 [nonzeros], on one device."""

    pointers: torch.Tensor
    indices: torch.Tensor
    values: torch.Tensor

    @classmethod
    def of(cls, P: Any, device: torch.device) -> Affinities:
        """From a SciPy CSR matrix."""
        return cls(
            torch.from_numpy(P.indptr.astype(np.int64)).to(device),
            torch.from_numpy(P.indices.astype(np.int32, copy=False)).to(device),
            torch.from_numpy(P.data.astype(np.float32, copy=False)).to(device),
        )

    def blocks(self) -> list[tuple[int, int]]:
        """Ranges of rows with a bounded number of entries together."""
        places = self.pointers.cpu().numpy()
        ends = [0]
        while ends[-1] < len(places) - 1:
            most = int(np.searchsorted(places, places[ends[-1]] + _CELLS, side="right")) - 1
            ends.append(min(max(most, ends[-1] + 1), len(places) - 1))
        return list(itertools.pairwise(ends))

    def reordered(self, order: torch.Tensor) -> Affinities:
        """Rows and columns in another order: row i of the result is row ``order[i]``; within a row the order stays."""
        lengths = torch.diff(self.pointers)[order]
        pointers = torch.zeros_like(self.pointers)
        pointers[1:] = torch.cumsum(lengths, 0)
        place = torch.empty(len(order), dtype=torch.int32, device=order.device)
        place[order] = torch.arange(len(order), dtype=torch.int32, device=order.device)
        shift = torch.repeat_interleave(self.pointers[:-1][order] - pointers[:-1], lengths)
        source = torch.arange(len(self.indices), device=order.device) + shift
        return Affinities(pointers, place[self.indices[source].long()], self.values[source])


def pull(P: Affinities, Y: torch.Tensor) -> torch.Tensor:
    """``sum_j p_ij w_ij (y_i - y_j)`` ``[n, dimensions]``."""
    forces = torch.empty_like(Y)
    for start, end in P.blocks():
        apart, values, offsets = _apart(P, Y, start, end)
        weights = values / (1 + (apart * apart).sum(dim=1))
        forces[start:end] = torch.segment_reduce(apart * weights[:, None], "sum", offsets=offsets, axis=0)
    return forces


def spread_cost(P: Affinities, Y: torch.Tensor) -> float:
    """``sum p_ij log(1 + |y_i - y_j|^2)``, in float64."""
    total = 0.0
    for start, end in P.blocks():
        apart, values, _ = _apart(P, Y.double(), start, end)
        total += float((values * torch.log1p((apart * apart).sum(dim=1))).sum())
    return total


def _apart(P: Affinities, Y: torch.Tensor, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    pointers = P.pointers[start : end + 1]
    offsets = pointers - pointers[0]
    entries = slice(int(pointers[0]), int(pointers[-1]))
    own = torch.repeat_interleave(Y[start:end], torch.diff(pointers), dim=0)
    return own - Y[P.indices[entries].long()], P.values[entries], offsets


def all_pairs(Y: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Unnormalised repulsion ``[n, dimensions]``, and Z, by all pairs in blocks."""
    forces = torch.empty_like(Y)
    total = 0.0
    block = max(1, _CELLS // max(1, Y.numel()))
    for start in range(0, len(Y), block):
        apart = Y[start : start + block, None] - Y  # [block, n, dimensions]
        weights = 1 / (1 + (apart * apart).sum(dim=2))
        own = torch.arange(len(weights), device=Y.device)
        weights[own, start + own] = 0
        total += float(weights.sum(dtype=torch.float64))
        forces[start : start + block] = ((weights * weights)[..., None] * apart).sum(dim=1)
    return forces, total


class Grid(NamedTuple):
    """A grid and transforms of kernels on it, as in README.md, Grid."""

    shape: Shape
    #: float32 [lengths[0], lengths[1] / 2 + 1]: of K; of x K^2 and y K^2, without their factor of -i.
    potential: torch.Tensor
    across: torch.Tensor
    along: torch.Tensor
    #: float64 [4, 4]: K on the grid at lags 0 to 3.
    own: torch.Tensor

    def fields(self, charges: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Fields of x K^2 and y K^2 on ``charges`` ``[rows, columns]``, and the charges' energy in K."""
        rows, columns = charges.shape
        lengths = self.shape.lengths
        waves = torch.fft.rfft2(charges, s=lengths)
        power = (waves.real * waves.real + waves.imag * waves.imag) * self.potential
        # Columns between the first and the last stand for their negatives too.
        power[:, 1:-1] *= 2
        energy = float(power.sum(dtype=torch.float64)) / self.shape.size
        turned = waves * -1j
        across = torch.fft.irfft2(turned * self.across, s=lengths)[:rows, :columns]
        along = torch.fft.irfft2(turned * self.along, s=lengths)[:rows, :columns]
        return across.contiguous(), along.contiguous(), energy


def grid_of(shape: Shape, device: torch.device) -> Grid:
    """Transform the kernels on a periodic grid, in float64."""
    lags = [torch.arange(length, dtype=torch.float64, device=device) for length in shape.lengths]
    u, v = (
        torch.where(lag <= length // 2, lag, lag - length) * shape.spacing
        for lag, length in zip(lags, shape.lengths, strict=True)
    )
    kernel = 1 / (1 + u[:, None] ** 2 + v**2)
    sharp = [torch.from_numpy(sharpening(length)).to(device) for length in shape.lengths]
    # The first direction has negative frequencies too.
    sharper = torch.cat([sharp[0], sharp[0][1:-1].flip(0)])[:, None] * sharp[1]
    potential = torch.fft.rfft2(kernel).real * sharper
    squared = kernel * kernel
    # An odd function vanishes where it turns round.
    u[shape.lengths[0] // 2] = 0
    v[shape.lengths[1] // 2] = 0
    across = -torch.fft.rfft2(u[:, None] * squared).imag * sharper
    along = -torch.fft.rfft2(v * squared).imag * sharper
    own = torch.fft.irfft2(potential, s=shape.lengths)[:4, :4].contiguous()
    return Grid(shape, potential.float(), across.float(), along.float(), own)


def window(t: torch.Tensor) -> torch.Tensor:
    """Weights ``[4, n]`` of the nodes around points at ``t`` in [0, 1) between the second and the third."""
    rest = 1 - t
    weights = torch.stack([rest**3, 4 + t * t * (3 * t - 6), 1 + 3 * t * (1 + t * rest), t**3])
    return weights / 6


def _places(Y: torch.Tensor, shape: Shape) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """First row and column of each point's nodes ``[n, 2]``, and weights along both directions ``[4, n]``."""
    low = torch.tensor([float(each) for each in shape.low], dtype=torch.float32, device=Y.device)
    on_grid = (Y - low) * float(np.float32(1 / shape.spacing))
    first = on_grid.floor()
    part = on_grid - first
    return first.long(), window(part[:, 0]), window(part[:, 1])


def spread(Y: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, float]:
    """Charges ``[rows, columns]`` of the points, and the sum of what the grid will say that each does to itself."""
    rows, columns = grid.shape.nodes
    first, a, b = _places(Y, grid.shape)
    charges = torch.zeros(rows * columns, dtype=torch.int64, device=Y.device)
    for k in range(4):
        for m in range(4):
            node = (first[:, 0] + k) * columns + first[:, 1] + m
            charges.index_add_(0, node, (a[k] * b[m] * SCALE).long())
    # Windows against themselves, shifted by 0 to 3 nodes, to either side.
    p, q = ([(each[: 4 - lag] * each[lag:]).sum(dim=0).double() for lag in range(4)] for each in (a, b))
    itself = 0.0
    for k in range(4):
        for m in range(4):
            times = (1 if k == 0 else 2) * (1 if m == 0 else 2)
            itself += float((p[k] * q[m]).sum()) * times * float(grid.own[k, m])
    return (charges.double() / SCALE).float().view(rows, columns), itself


def gather(Y: torch.Tensor, grid: Grid, across: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """Both fields ``[rows, columns]`` at the points ``[n, 2]``."""
    columns = across.shape[1]
    first, a, b = _places(Y, grid.shape)
    forces = torch.zeros_like(Y)
    for k in range(4):
        for m in range(4):
            node = (first[:, 0] + k) * columns + first[:, 1] + m
            weight = a[k] * b[m]
            forces[:, 0] += weight * across.view(-1)[node]
            forces[:, 1] += weight * along.view(-1)[node]
    return forces
