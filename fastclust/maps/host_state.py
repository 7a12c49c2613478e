"""A map that is drawn on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.tsne.descent import descend, shift
from fastclust_kernels.tsne.moving import MovingForces

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HostState"]


class HostState:
    """Points ``[n, dimensions]``, their last step and gains, in an order that puts neighbours near in memory.

    ``fixed`` is a boolean ``[n]`` or None; without fixed points the map's mean is 0.
    """

    def __init__(self, P: Any, points: NDArray[np.float32], fixed: NDArray[np.bool_] | None) -> None:
        self._forces = MovingForces(P)
        self._points = points
        self._update = np.zeros_like(points)
        self._gains = np.ones_like(points)
        self._order = np.arange(len(points), dtype=np.int32)
        self._fixed = fixed
        self._pins = points.copy() if fixed is not None else None

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
        if self._fixed is None or self._pins is None:
            shift(self._points, (total / len(self._points)).astype(np.float32))
        else:
            pinned = self._fixed[self._order]
            self._points[pinned] = self._pins[self._order[pinned]]
            self._update[pinned] = 0

    def rearrange(self) -> None:
        """Put points near their neighbours in memory."""
        moved = _along_curve(self._points)
        self._points, self._update, self._gains = (
            np.ascontiguousarray(part[moved]) for part in (self._points, self._update, self._gains)
        )
        self._order = self._order[moved]
        self._forces.reorder(self._order)

    def placed(self) -> NDArray[np.float32]:
        """Return the points in the order of the rows."""
        placed = np.empty_like(self._points)
        placed[self._order] = self._points
        return placed

    def divergence(self) -> float:
        """KL(P || Q), without exaggeration."""
        return self._forces.divergence(self._points)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all there is to remember: 28 bytes a point in two dimensions."""
        return {"points": self._points, "update": self._update, "gains": self._gains, "order": self._order}

    def restore(self, arrays: dict[str, NDArray[Any]], *, moved: bool) -> None:
        """Take up what :meth:`arrays` gave."""
        self._points, self._update, self._gains = arrays["points"], arrays["update"], arrays["gains"]
        self._order = arrays["order"]
        if moved:
            self._forces.reorder(self._order)


def _along_curve(points: NDArray[np.float32]) -> NDArray[np.int32]:
    """Order of points along a Z-order curve: near in the order is mostly near on the map."""
    low, extent = points.min(axis=0), float(np.ptp(points, axis=0).max())
    cells = ((points - low) * (1023 / extent if extent > 0 else 0.0)).astype(np.int64)
    dimensions = points.shape[1]
    code = np.zeros(len(points), np.int64)
    for bit in range(10):
        for axis in range(dimensions):
            code |= ((cells[:, axis] >> bit) & 1) << (bit * dimensions + axis)
    return np.argsort(code, kind="stable").astype(np.int32)
