"""The oracle of assignment: every distance by differences, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["assign"]


def assign(X: NDArray[Any], centers: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Labels ``[n]`` and squared distances ``[n]``; ties go to the lowest index."""
    labels = np.empty(len(X), np.int32)
    distances = np.empty(len(X))
    exact = centers.astype(np.float64)
    for i, x in enumerate(X.astype(np.float64)):
        squared = ((x - exact) ** 2).sum(axis=1)
        labels[i] = squared.argmin()
        distances[i] = squared[labels[i]]
    return labels, distances
