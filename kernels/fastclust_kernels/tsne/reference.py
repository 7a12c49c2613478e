"""The oracle of t-SNE's forces: every pair, by differences, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["attraction", "divergence", "repulsion"]


def attraction(P: Any, Y: NDArray[Any]) -> NDArray[np.float64]:
    """``sum_j p_ij w_ij (y_i - y_j)`` for each row i of a SciPy CSR ``P``, with ``w = 1 / (1 + |y_i - y_j|^2)``."""
    points = Y.astype(np.float64)
    forces = np.zeros_like(points)
    for i, y in enumerate(points):
        mine = slice(P.indptr[i], P.indptr[i + 1])
        apart = y - points[P.indices[mine]]
        weights = P.data[mine].astype(np.float64) / (1 + (apart**2).sum(axis=1))
        forces[i] = weights @ apart
    return forces


def repulsion(Y: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """``sum_j w_ij^2 (y_i - y_j)`` for each i, and ``Z``, the sum of all ``w_ij`` with i and j not the same."""
    points = Y.astype(np.float64)
    forces = np.zeros_like(points)
    total = 0.0
    for i, y in enumerate(points):
        apart = y - points
        weights = 1 / (1 + (apart**2).sum(axis=1))
        weights[i] = 0
        forces[i] = weights**2 @ apart
        total += weights.sum()
    return forces, float(total)


def divergence(P: Any, Y: NDArray[Any]) -> float:
    """KL(P || Q), with ``q_ij = w_ij / Z``."""
    points = Y.astype(np.float64)
    _, total = repulsion(Y)
    entries = P.tocoo()
    kept = entries.data > 0
    p = entries.data[kept].astype(np.float64)
    apart = points[entries.row[kept]] - points[entries.col[kept]]
    return float((p * np.log(p * (1 + (apart**2).sum(axis=1)) * total)).sum())
