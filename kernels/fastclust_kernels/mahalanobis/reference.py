"""The oracles: differences first, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["nearest", "paired", "pairs", "to_components"]


def pairs(X: NDArray[Any], Y: NDArray[Any], factor: NDArray[Any], out: NDArray[Any], *, squared: bool) -> None:
    """Write ``|W^T (x - y)|``, or its square, into ``out`` ``[n, m]``."""
    for i, x in enumerate(X.astype(np.float64)):
        total = (((x - Y.astype(np.float64)) @ factor) ** 2).sum(axis=1)
        out[i] = total if squared else np.sqrt(total)


def paired(X: NDArray[Any], Y: NDArray[Any], factor: NDArray[Any]) -> NDArray[np.float64]:
    """``|W^T (x_i - y_i)|^2`` of row beside row: ``[n]``."""
    total: NDArray[np.float64] = (((X.astype(np.float64) - Y.astype(np.float64)) @ factor) ** 2).sum(axis=1)
    return total


def nearest(
    X: NDArray[Any], Y: NDArray[Any], factor: NDArray[Any], k: int, *, others_only: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Squared distances ``[n, k]`` to the k nearest rows of ``Y``, and their numbers; the lowest number on a tie."""
    distances, indices = np.empty((len(X), k)), np.empty((len(X), k), np.int64)
    for i, x in enumerate(X):
        total = paired(np.broadcast_to(x, Y.shape), Y, factor)
        if others_only:
            total[i] = np.inf
        order = np.argsort(total, kind="stable")
        indices[i] = [j for j in order if not (others_only and j == i)][:k]
        distances[i] = total[indices[i]]
    return distances, indices


def to_components(
    X: NDArray[Any], means: NDArray[np.float64], factors: NDArray[np.float64], out: NDArray[Any], *, squared: bool
) -> None:
    """Write ``|W_k^T (x - m_k)|``, or its square, into ``out`` ``[n, k]``."""
    for k, (mean, factor) in enumerate(zip(means, factors, strict=True)):
        total = (((X.astype(np.float64) - mean) @ factor) ** 2).sum(axis=1)
        out[:, k] = total if squared else np.sqrt(total)
