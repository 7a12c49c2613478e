"""Large margin nearest neighbours: target neighbours near, rows of other classes a margin farther."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastclust.errors import InputError
from fastclust.metric.estimator import MahalanobisMetric, become
from fastclust.metric.labels import checked_rows_and_labels
from fastclust_kernels import mahalanobis as kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LMNN"]

#: Distances that are held together.
_CELLS = 1 << 22


class LMNN(MahalanobisMetric):
    """A map in which a row's nearest neighbours of its class are nearer, by a margin, than rows of other classes.

    Weinberger and Saul, "Distance metric learning for large margin nearest neighbor classification", JMLR 2009,
    equations 11 to 13: ``(1 - regularization)`` times the squared distances to target neighbours, fixed by the
    Euclidean ones at the start, plus ``regularization`` times ``max(0, 1 + near - far)`` over all impostors. The map is
    optimised itself by L-BFGS; each step looks at all pairs, so time grows with the square of the number of rows.

    Parameters
    ----------
    n_neighbors
        Target neighbours a row.
    n_components
        Rows of ``components_``; None keeps all d. Fewer start from the principal components.
    regularization
        Weight of the impostors, in (0, 1).
    max_iter, tol
        When the optimiser stops; ``tol`` is a relative change of the objective.

    Attributes
    ----------
    n_iter_
        Iterations of the optimiser.
    loss_
        The objective at the end.
    components_, mean_, rank_, n_features_in_
        As of :class:`MahalanobisMetric`.
    """

    def __init__(
        self,
        n_neighbors: int = 3,
        n_components: int | None = None,
        *,
        regularization: float = 0.5,
        max_iter: int = 100,
        tol: float = 1e-5,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.n_components = n_components
        self.regularization = regularization
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit to rows ``X`` ``[n, d]`` and their labels ``y`` ``[n]``. Raises InputError, InputTypeError."""
        from scipy.optimize import minimize

        rows, labels = checked_rows_and_labels(X, y)
        d = rows.shape[1]
        wanted = d if self.n_components is None else self.n_components
        if not 1 <= wanted <= d:
            raise InputError("n_components", repr(self.n_components), f"None, or 1 to {d}")
        if not 0 < self.regularization < 1:
            raise InputError("regularization", repr(self.regularization), "more than 0, less than 1")
        targets = target_neighbors(rows, labels, self.n_neighbors)
        moved = rows - rows.mean(axis=0)
        start = np.eye(d)
        if wanted < d:
            start = np.linalg.eigh(moved.T @ moved)[1][:, ::-1][:, :wanted].T
        found = minimize(
            lambda flat: loss_and_gradient(flat.reshape(wanted, d), moved, labels, targets, self.regularization),
            start.reshape(-1),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.max_iter, "ftol": self.tol, "gtol": 0.0},
        )
        self.n_iter_, self.loss_ = int(found.nit), float(found.fun)
        return become(self, found.x.reshape(wanted, d).T, rows.mean(axis=0))


def target_neighbors(rows: NDArray[np.float64], labels: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Numbers ``[n, k]`` of the nearest rows of the same label. Raises InputError for a class of k rows or fewer."""
    targets = np.empty((len(rows), k), np.int64)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise InputError("y", "one class", "two classes or more")
    if k < 1 or counts.min() <= k:
        small = classes[counts.argmin()]
        raise InputError(
            "n_neighbors", f"{k}, and class {small} has {counts.min()} rows", "fewer than the rows of each class"
        )
    for label in classes:
        own = np.flatnonzero(labels == label)
        near = kernels.nearest(rows[own], rows[own], np.eye(rows.shape[1]), k, others_only=True)
        targets[own] = own[near.indices]
    return targets


def loss_and_gradient(
    components: NDArray[np.float64],
    rows: NDArray[np.float64],
    labels: NDArray[np.int64],
    targets: NDArray[np.int64],
    weight: float,
) -> tuple[float, NDArray[np.float64]]:
    """The objective and its gradient (flat) by the map ``[r, d]``.

    Every term is a squared distance times a number, so the gradient is ``2 L S`` with S the sum of those numbers times
    ``(x_i - x_j)(x_i - x_j)^T``; the numbers are made and used by blocks of rows.
    """
    n, k = targets.shape
    mapped = rows @ components.T
    squares = np.einsum("ij,ij->i", mapped, mapped)
    near = ((mapped[:, None] - mapped[targets]) ** 2).sum(axis=2)
    loss = (1 - weight) * float(near.sum())
    pull = np.full((n, k), 1 - weight)
    scatter = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, n, max(1, _CELLS // n)):
        part = slice(start, start + max(1, _CELLS // n))
        far = squares[part, None] + squares - 2 * mapped[part] @ mapped.T
        other = labels[part, None] != labels
        push = np.zeros_like(far)
        for j in range(k):
            margin = 1 + near[part, j, None] - far
            active = other & (margin > 0)
            loss += weight * float(margin[active].sum())
            pull[part, j] += weight * active.sum(axis=1)
            push -= weight * active
        scatter += _laplacian(rows, np.arange(n)[part], push)
    for j in range(k):
        apart = rows - rows[targets[:, j]]
        scatter += apart.T @ (apart * pull[:, j, None])
    return loss, (2 * components @ scatter).reshape(-1)


def _laplacian(rows: NDArray[np.float64], own: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of ``w_ij (x_i - x_j)(x_i - x_j)^T`` over the rows ``own`` and all others: ``[d, d]``."""
    mine = rows[own]
    cross = mine.T @ (weights @ rows)
    total: NDArray[np.float64] = (
        (mine * weights.sum(axis=1)[:, None]).T @ mine
        + (rows * weights.sum(axis=0)[:, None]).T @ rows
        - cross
        - cross.T
    )
    return total
