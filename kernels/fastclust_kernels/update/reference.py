"""The oracle of the update: one row after the other, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["update"]


def update(
    X: NDArray[Any], labels: NDArray[Any], k: int, weights: NDArray[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums ``[k, d]`` and weights ``[k]``."""
    sums = np.zeros((k, X.shape[1]))
    total = np.zeros(k)
    for i, label in enumerate(labels):
        weight = 1.0 if weights is None else weights[i]
        sums[label] += weight * X[i].astype(np.float64)
        total[label] += weight
    return sums, total
