"""A map that is drawn on a torch device: a GPU, or the CPU where a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fastclust_kernels.tsne.device import DeviceForces, descend

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DeviceState"]


class DeviceState:
    """What :class:`~fastclust.maps.host_state.HostState` is, in tensors on ``device``."""

    def __init__(
        self,
        P: Any,
        points: NDArray[np.float32],
        fixed: NDArray[np.bool_] | None,
        device: torch.device,
        kernels: str,
    ) -> None:
        self._forces = DeviceForces(P, device, kernels=kernels)
        self._device = device
        self._points = torch.from_numpy(points.copy()).to(device)
        self._update = torch.zeros_like(self._points)
        self._gains = torch.ones_like(self._points)
        self._order = torch.arange(len(points), device=device)
        self._fixed = None if fixed is None else torch.from_numpy(fixed).to(device)
        self._pins = self._points.clone()

    def step(self, exaggeration: float, learning_rate: float, momentum: float) -> None:
        """Move all points once."""
        attraction = self._forces.attraction(self._points)
        repulsion, normalization = self._forces.repulsion(self._points)
        total = descend(
            self._points,
            self._update,
            self._gains,
            attraction,
            repulsion,
            exaggeration=exaggeration,
            normalization=normalization,
            learning_rate=learning_rate,
            momentum=momentum,
        )
        if self._fixed is None:
            self._points -= (total / len(self._points)).float()
        else:
            pinned = self._fixed[self._order][:, None]
            self._points = torch.where(pinned, self._pins[self._order], self._points)
            self._update = torch.where(pinned, torch.zeros_like(self._update), self._update)

    def rearrange(self) -> None:
        """Put points near their neighbours in memory."""
        moved = _along_curve(self._points)
        self._points, self._update, self._gains = (part[moved] for part in (self._points, self._update, self._gains))
        self._order = self._order[moved]
        self._forces.reorder(self._order)

    def placed(self) -> NDArray[np.float32]:
        """Return the points in the order of the rows."""
        placed = torch.empty_like(self._points)
        placed[self._order] = self._points
        found: NDArray[np.float32] = placed.cpu().numpy()
        return found

    def divergence(self) -> float:
        """KL(P || Q), without exaggeration."""
        return self._forces.divergence(self._points)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all there is to remember."""
        parts = {"points": self._points, "update": self._update, "gains": self._gains, "order": self._order.int()}
        return {name: part.cpu().numpy() for name, part in parts.items()}

    def restore(self, arrays: dict[str, NDArray[Any]], *, moved: bool) -> None:
        """Take up what :meth:`arrays` gave."""
        parts = {name: torch.from_numpy(array).to(self._device) for name, array in arrays.items()}
        self._points, self._update, self._gains = parts["points"], parts["update"], parts["gains"]
        self._order = parts["order"].long()
        if moved:
            self._forces.reorder(self._order)


def _along_curve(points: torch.Tensor) -> torch.Tensor:
    """Order of points along a Z-order curve: near in the order is mostly near on the map."""
    low = points.amin(dim=0)
    extent = float((points.amax(dim=0) - low).max())
    cells = ((points - low) * (1023 / extent if extent > 0 else 0.0)).long()
    dimensions = points.shape[1]
    code = torch.zeros(len(points), dtype=torch.long, device=points.device)
    for bit in range(10):
        for axis in range(dimensions):
            code |= ((cells[:, axis] >> bit) & 1) << (bit * dimensions + axis)
    return torch.argsort(code, stable=True)
