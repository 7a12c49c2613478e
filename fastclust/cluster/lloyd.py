"""Lloyd's iteration on our assignment and update kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust import progress
from fastclust_kernels.assign import distances_to_own
from fastclust_kernels.assign.moving import MovingAssignment
from fastclust_kernels.update.moving import MovingSums

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Fit", "lloyd", "spherical"]


class Fit(NamedTuple):
    """Where the iteration ended; the labels belong to the centres."""

    centers: NDArray[Any]
    labels: NDArray[np.int32]
    inertia: float
    n_iter: int
    backend: str
    algorithm: str


def lloyd(
    X: NDArray[Any],
    centers: NDArray[Any],
    *,
    weights: NDArray[np.float64] | None,
    max_iter: int,
    tol: float,
    cosine: bool,
    backend: str,
    bounds: bool | None = None,
    run: tuple[int, int] = (0, 1),
) -> Fit:
    """Iterate until labels stop changing, centres move by at most ``tol`` (squared), or ``max_iter`` (Lloyd, 1982).

    An empty cluster takes the row that is farthest from its centre; the lowest row number where several are. ``bounds``
    as for :class:`~fastclust_kernels.assign.moving.MovingAssignment`; ``run`` is (number, how many), for progress.
    """
    k = len(centers)
    nearest = MovingAssignment(X, k, backend=backend, bounds=bounds)
    gathered = MovingSums(X, k, weights)
    number, runs = run
    n_iter = 0
    for n_iter in range(1, max_iter + 1):
        labels = nearest.step(centers)
        sums, total, changed = gathered.step(labels)
        moved = _means(X, labels, centers, weights, sums, total, cosine=cosine)
        shift = float(((moved.astype(np.float64) - centers) ** 2).sum())
        centers = moved
        progress.report("kmeans", number + n_iter / max_iter, runs, f"run {number + 1}, iteration {n_iter}")
        if (changed == 0 and n_iter > 1) or shift <= tol:
            break
    labels = nearest.step(centers).copy()
    distances = distances_to_own(X, centers, labels)
    inertia = float((distances if weights is None else distances * weights).sum())
    return Fit(centers, labels, inertia, n_iter, nearest.backend, "elkan" if nearest.bounded else "lloyd")


def _means(
    X: NDArray[Any],
    labels: NDArray[np.int32],
    centers: NDArray[Any],
    weights: NDArray[np.float64] | None,
    sums: NDArray[np.float64],
    total: NDArray[np.float64],
    *,
    cosine: bool,
) -> NDArray[Any]:
    """The next centres; ``sums`` and ``total`` are written to."""
    empty = np.flatnonzero(total == 0)
    if len(empty):
        # lexsort: by distance, falling, then by row number.
        far = np.lexsort((np.arange(len(X)), -distances_to_own(X, centers, labels)))[: len(empty)]
        for cluster, row in zip(empty, far, strict=True):
            weight = 1.0 if weights is None else weights[row]
            old = labels[row]
            sums[old] -= weight * X[row].astype(np.float64)
            total[old] -= weight
            sums[cluster], total[cluster] = weight * X[row].astype(np.float64), weight
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(total[:, None] > 0, sums / total[:, None], centers.astype(np.float64))
    if cosine:
        means = spherical(means, centers)
    return means.astype(X.dtype)


def spherical(rows: NDArray[Any], instead: NDArray[Any]) -> NDArray[Any]:
    """Rows of length one; a row of length zero is taken from ``instead``."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(lengths > 0, rows / np.where(lengths > 0, lengths, 1), instead)
