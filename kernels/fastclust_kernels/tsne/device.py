"""What :mod:`moving` and :mod:`descent` do, on a torch device: a GPU, or the CPU where a test asks for it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastclust_kernels.devices import architecture_of, device_of, interpreted
from fastclust_kernels.errors import BackendError, InputError
from fastclust_kernels.tsne import _torch
from fastclust_kernels.tsne._choice import choose_method

if TYPE_CHECKING:
    from fastclust_kernels.tsne._grid import Shape

__all__ = ["KERNELS", "DeviceForces", "architecture_of", "descend", "device_of", "interpreted"]

#: "torch" for its own operations, "triton" for fused kernels.
KERNELS = ("torch", "triton")


class DeviceForces:
    """Attraction, repulsion and divergence of points ``[n, dimensions]`` on a device under one matrix of affinities.

    Parameters
    ----------
    P
        Symmetric SciPy CSR matrix ``[n, n]``; kept as float32 on the device.
    device
        Where everything lies.
    kernels
        "torch" or "triton".
    method
        How repulsion is computed: "fft", "exact", or "auto" for the quickest for the map as it is.
    """

    def __init__(self, P: Any, device: torch.device, *, kernels: str = "torch", method: str = "auto") -> None:
        self._device = device
        self._ops = _operations(kernels, device)
        self._given = _torch.Affinities.of(P, device)
        self._P = self._given
        p = P.data[P.data > 0].astype(np.float64)
        self._entropy = float(p.sum()), float((p * np.log(p)).sum())
        self._method = method
        self._grid: _torch.Grid | None = None
        #: What the last repulsion was computed by.
        self.method = ""

    def reorder(self, order: torch.Tensor) -> None:
        """From now on, point i is point ``order[i]`` of the matrix given: neighbours come near each other in memory."""
        self._P = self._given.reordered(order)

    def attraction(self, Y: torch.Tensor) -> torch.Tensor:
        """``sum_j p_ij w_ij (y_i - y_j)``, float32 ``[n, dimensions]``."""
        found: torch.Tensor = self._ops.pull(self._P, Y)
        return found

    def repulsion(self, Y: torch.Tensor) -> tuple[torch.Tensor, float]:
        """``sum_j w_ij^2 (y_i - y_j)``, float32 ``[n, dimensions]``, and Z."""
        plane = torch.nn.functional.pad(Y, (0, 1)) if Y.shape[1] == 1 else Y
        limits = torch.stack([plane.amin(dim=0), plane.amax(dim=0)]).cpu().numpy()
        # A tree would leave most of a GPU idle: in space all pairs are taken.
        method = "exact" if self._method == "auto" and Y.shape[1] == 3 else self._method
        if method == "barnes_hut":
            raise InputError("method", "'barnes_hut', on a device", "auto, fft or exact")
        self.method, shape = choose_method(len(Y), limits[0], limits[1], method)
        if shape is None:
            found: tuple[torch.Tensor, float] = self._ops.all_pairs(Y)
            return found
        grid = self._grid_of(shape)
        charges, itself = self._ops.spread(plane, grid)
        across, along, energy = grid.fields(charges)
        return self._ops.gather(plane, grid, across, along)[:, : Y.shape[1]].contiguous(), energy - itself

    def divergence(self, Y: torch.Tensor) -> float:
        """KL(P || Q), without exaggeration."""
        total = self.repulsion(Y)[1]
        if not total > 0:
            raise InputError("Y", f"Z = {total}", "points that are not infinitely far apart")
        mass, entropy = self._entropy
        return entropy + _torch.spread_cost(self._P, Y) + mass * float(np.log(total))

    def _grid_of(self, shape: Shape) -> _torch.Grid:
        if self._grid is None or (self._grid.shape.spacing, self._grid.shape.lengths) != (shape.spacing, shape.lengths):
            self._grid = _torch.grid_of(shape, self._device)
        self._grid = self._grid._replace(shape=shape)
        return self._grid


def _operations(kernels: str, device: torch.device) -> Any:
    """Return the module with spread, gather, pull and all_pairs. Raises BackendError, InputError."""
    if kernels not in KERNELS:
        raise InputError("kernels", repr(kernels), ", ".join(KERNELS))
    if kernels == "torch":
        return _torch
    if find_spec("triton") is None:
        raise BackendError("tsne: kernels='triton': triton is not installed. Allowed: torch, or pip install triton.")
    if device.type != "cuda" and not interpreted():
        raise BackendError(
            f"tsne: kernels='triton' on {device}: they need a CUDA GPU, or TRITON_INTERPRET=1. Allowed: torch."
        )
    from fastclust_kernels.tsne import _triton

    return _triton


def descend(
    Y: torch.Tensor,
    update: torch.Tensor,
    gains: torch.Tensor,
    attraction: torch.Tensor,
    repulsion: torch.Tensor,
    *,
    exaggeration: float,
    normalization: float,
    learning_rate: float,
    momentum: float,
    min_gain: float = 0.01,
    max_step: float = 5.0,
) -> torch.Tensor:
    """Move ``Y`` as :func:`fastclust_kernels.tsne.descent.descend` does, in place; returns the sum of the points."""
    inverse = 1 / normalization if normalization > 0 else 0.0
    gradient = exaggeration * attraction - inverse * repulsion
    turned = torch.sign(update) != torch.sign(gradient)
    gains.copy_(torch.where(turned, gains + 0.2, gains * 0.8 + min_gain))
    update.mul_(momentum).sub_(learning_rate * gains * gradient)
    lengths = update.norm(dim=1, keepdim=True)
    update.mul_(torch.where(lengths > max_step, max_step / lengths, torch.ones_like(lengths)))
    Y.add_(update)
    return Y.sum(dim=0, dtype=torch.float64)
