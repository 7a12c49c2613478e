"""Lloyd's iteration on our assignment and update kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust import progress
from fastclust_kernels.assign import Assignment, assign
from fastclust_kernels.update import update

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


def lloyd(
    X: NDArray[Any],
    centers: NDArray[Any],
    *,
    weights: NDArray[np.float64] | None,
    max_iter: int,
    tol: float,
    cosine: bool,
    backend: str,
    run: tuple[int, int] = (0, 1),
) -> Fit:
    """Iterate until labels stop changing, centres move by at most ``tol`` (squared), or ``max_iter`` (Lloyd, 1982).

    An empty cluster takes the row that is farthest from its centre; the lowest row number where several are. ``run`` is
    (number, how many), for progress.
    """
    labels = np.full(len(X), -1, np.int32)
    found: Assignment | None = None
    n_iter = 0
    strict = False
    for n_iter in range(1, max_iter + 1):
        found = assign(X, centers, backend=backend, check_finite=False)
        moved = _means(X, found, centers, weights, cosine=cosine)
        shift = float(((moved.astype(np.float64) - centers) ** 2).sum())
        centers = moved
        number, runs = run
        progress.report("kmeans", number + n_iter / max_iter, runs, f"run {number + 1}, iteration {n_iter}")
        strict = np.array_equal(found.labels, labels)
        labels = found.labels
        if strict or shift <= tol:
            break
    if found is None or not strict:
        found = assign(X, centers, backend=backend, check_finite=False)
    distances = found.distances if weights is None else found.distances * weights
    return Fit(centers, found.labels, float(distances.sum()), n_iter, found.backend)


def _means(
    X: NDArray[Any], found: Assignment, centers: NDArray[Any], weights: NDArray[np.float64] | None, *, cosine: bool
) -> NDArray[Any]:
    k = len(centers)
    sums, total, _ = update(X, found.labels, k, weights=weights)
    empty = np.flatnonzero(total == 0)
    if len(empty):
        # lexsort: by distance, falling, then by row number.
        far = np.lexsort((np.arange(len(X)), -found.distances))[: len(empty)]
        for cluster, row in zip(empty, far, strict=True):
            weight = 1.0 if weights is None else weights[row]
            old = found.labels[row]
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
