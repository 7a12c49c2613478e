"""Lloyd's iteration on our assignment and update kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from fastclust import progress
from fastclust.cluster.chunks import farthest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.cluster.rows import Rows

__all__ = ["Fit", "Keeper", "Kept", "lloyd", "means_of", "next_centers", "spherical"]


class Fit(NamedTuple):
    """Where the iteration ended; the labels belong to the centres."""

    centers: NDArray[Any]
    labels: NDArray[np.int32]
    inertia: float
    n_iter: int
    backend: str
    algorithm: str


class Kept(NamedTuple):
    """Where an iteration ended: what is needed to go on to the same bits."""

    #: Centres that the labels belong to, and those that they led to.
    before: NDArray[Any]
    centers: NDArray[Any]
    n_iter: int
    stopped: bool
    #: State of the sums.
    sums: dict[str, NDArray[np.float64]]


class Keeper(Protocol):
    """Keeps the last iteration somewhere."""

    def keep(self, now: Kept) -> None:
        """Keep this one in place of the last."""

    def kept(self) -> Kept | None:
        """The last one of an earlier attempt, if there is one."""


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
    keeper: Keeper | None = None,
    run: tuple[int, int] = (0, 1),
    verbose: bool = False,
) -> Fit:
    """Iterate until labels stop changing, centres move by at most ``tol`` (squared), or ``max_iter`` (Lloyd, 1982).

    An empty cluster takes the row that is farthest from its centre, if any is not on it; the lowest row number where
    several are. ``bounds`` as for :class:`~fastclust_kernels.assign.moving.MovingAssignment`; ``keeper`` is told of
    each iteration and knows where an earlier attempt ended; ``run`` is (number, how many), for progress.
    """
    nearest, gathered = rows.moving(len(centers), weights, backend, bounds)
    number, runs = run
    n_iter, stopped = 0, False
    kept = None if keeper is None else keeper.kept()
    if kept is not None:
        # Labels are a function of the centres, so that keeping the centres is enough.
        gathered.restore(kept.sums, nearest.step(kept.before))
        centers, n_iter, stopped = kept.centers, kept.n_iter, kept.stopped
    while n_iter < max_iter and not stopped:
        n_iter += 1
        labels = nearest.step(centers)
        if verbose:
            print(f"Iteration {n_iter - 1}, inertia {rows.inertia(centers, labels, weights)}.")  # noqa: T201
        sums, total, changed = gathered.step(labels)
        moved = next_centers(rows, labels, centers, weights, sums, total, cosine=cosine)
        shift = float(((moved.astype(np.float64) - centers) ** 2).sum())
        before, centers = centers, moved
        said = f"run {number + 1}, iteration {n_iter}"
        progress.report("kmeans", number + n_iter / max_iter, runs, said, bound=True)
        if changed == 0 and n_iter > 1:
            _say(verbose, f"Converged at iteration {n_iter - 1}: strict convergence.")
            stopped = True
        elif shift <= tol:
            _say(verbose, f"Converged at iteration {n_iter - 1}: center shift {shift} within tolerance {tol}.")
            stopped = True
        if keeper is not None:
            keeper.keep(Kept(before, centers, n_iter, stopped, gathered.state()))
    labels, inertia = rows.finish(nearest, centers, weights)
    return Fit(centers, labels, inertia, n_iter, nearest.backend, "elkan" if nearest.bounded else "lloyd")


def _say(verbose: bool, sentence: str) -> None:
    if verbose:
        print(sentence)  # noqa: T201


def next_centers(
    rows: Rows,
    labels: NDArray[np.int32],
    centers: NDArray[Any],
    weights: NDArray[np.float64] | None,
    sums: NDArray[np.float64],
    total: NDArray[np.float64],
    *,
    cosine: bool,
) -> NDArray[Any]:
    """The next centres ``[k, d]``, empty clusters filled; ``sums`` and ``total`` are written to."""
    empty = np.flatnonzero(total == 0)
    if len(empty):
        # A row on its centre has nothing to gain, and one without weight
        # would leave the cluster empty.
        far = farthest(rows.own(centers, labels), weights, len(empty))
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
