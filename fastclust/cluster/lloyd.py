"""Lloyd's iteration on our assignment and update kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.cluster.rows import Rows

__all__ = ["Fit", "lloyd", "means_of", "spherical"]


class Fit(NamedTuple):
    """Where the iteration ended; the labels belong to the centres."""

    centers: NDArray[Any]
    labels: NDArray[np.int32]
    inertia: float
    n_iter: int
    backend: str
    algorithm: str


def lloyd(
    rows: Rows,
    centers: NDArray[Any],
    *,
    weights: NDArray[np.float64] | None,
    max_iter: int,
    tol: float,
    cosine: bool,
    backend: str,
    bounds: bool | None = None,
    run: tuple[int, int] = (0, 1),
    verbose: bool = False,
) -> Fit:
    """Iterate until labels stop changing, centres move by at most ``tol`` (squared), or ``max_iter`` (Lloyd, 1982).

    An empty cluster takes the row that is farthest from its centre, if any is not on it; the lowest row number where
    several are. ``bounds``
    as for :class:`~fastclust_kernels.assign.moving.MovingAssignment`; ``run`` is (number, how many), for progress.
    """
    nearest = rows.nearest(len(centers), backend, bounds)
    gathered = rows.sums(len(centers), weights)
    number, runs = run
    n_iter = 0
    for n_iter in range(1, max_iter + 1):
        labels = nearest.step(centers)
        if verbose:
            print(f"Iteration {n_iter - 1}, inertia {_inertia(rows, centers, labels, weights)}.")  # noqa: T201
        sums, total, changed = gathered.step(labels)
        moved = _means(rows, labels, centers, weights, sums, total, cosine=cosine)
        shift = float(((moved.astype(np.float64) - centers) ** 2).sum())
        centers = moved
        progress.report("kmeans", number + n_iter / max_iter, runs, f"run {number + 1}, iteration {n_iter}")
        if changed == 0 and n_iter > 1:
            _say(verbose, f"Converged at iteration {n_iter - 1}: strict convergence.")
            break
        if shift <= tol:
            _say(verbose, f"Converged at iteration {n_iter - 1}: center shift {shift} within tolerance {tol}.")
            break
    labels = nearest.step(centers).copy()
    inertia = _inertia(rows, centers, labels, weights)
    return Fit(centers, labels, inertia, n_iter, nearest.backend, "elkan" if nearest.bounded else "lloyd")


def _say(verbose: bool, sentence: str) -> None:
    if verbose:
        print(sentence)  # noqa: T201


def _inertia(
    rows: Rows, centers: NDArray[Any], labels: NDArray[np.int32], weights: NDArray[np.float64] | None
) -> float:
    distances = rows.own(centers, labels)
    return float((distances if weights is None else distances * weights).sum())


def _means(
    rows: Rows,
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
        # By distance, falling, then by row number. A row on its centre has nothing to gain, and one without weight
        # would leave the cluster empty.
        distances = rows.own(centers, labels)
        if weights is not None:
            distances[weights == 0] = 0.0
        far = np.lexsort((np.arange(len(labels)), -distances))[: min(len(empty), np.count_nonzero(distances))]
        taken = rows.take(far).astype(np.float64)
        for cluster, row, values in zip(empty, far, taken, strict=False):
            weight = 1.0 if weights is None else weights[row]
            old = labels[row]
            sums[old] -= weight * values
            total[old] -= weight
            sums[cluster], total[cluster] = weight * values, weight
    return means_of(sums, total, centers, cosine=cosine)


def means_of(
    sums: NDArray[np.float64], total: NDArray[np.float64], centers: NDArray[Any], *, cosine: bool
) -> NDArray[Any]:
    """Means ``[k, d]`` of the clusters, of length one for ``cosine``; a cluster of no weight keeps its centre."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(total[:, None] > 0, sums / total[:, None], centers.astype(np.float64))
    if cosine:
        means = spherical(means, centers)
    moved: NDArray[Any] = means.astype(centers.dtype)
    return moved


def spherical(vectors: NDArray[Any], instead: NDArray[Any]) -> NDArray[Any]:
    """Vectors of length one; one of length zero is taken from ``instead``."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(lengths > 0, vectors / np.where(lengths > 0, lengths, 1), instead)
