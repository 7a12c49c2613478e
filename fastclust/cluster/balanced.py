"""k-means with bounds on the sizes of its clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.utils import check_random_state

from fastclust import progress
from fastclust.cluster.base import Centers, check_integer, check_number
from fastclust.cluster.inputs import check_rows, check_weights
from fastclust.cluster.lloyd import means_of
from fastclust.cluster.rows import rows_of
from fastclust.cluster.seeding import initial_centers
from fastclust.cluster.spaces import Space, space_of
from fastclust.errors import InputError
from fastclust_kernels.balance import balance

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust.cluster.rows import Rows

__all__ = ["BalancedKMeans"]


class _Found(NamedTuple):
    centers: NDArray[Any]
    labels: NDArray[np.int32]
    inertia: float
    n_iter: int


class BalancedKMeans(Centers):
    """k-means whose clusters all have between ``size_min`` and ``size_max`` rows.

    Lloyd's iteration, but rows go to centres such that the sum of squared distances is the least that the sizes allow:
    a transportation problem, solved exactly (Bradley, Bennett, Demiriz, "Constrained K-Means Clustering", 2000; here by
    :func:`fastclust_kernels.balance.balance`). Needs ``n * n_clusters`` numbers of memory.

    Parameters
    ----------
    n_clusters, init, n_init, max_iter, tol, metric, random_state, verbose
        As for :class:`~fastclust.KMeans`.
    size_min, size_max
        Least and most rows of a cluster; None is 1, and as many as the others leave.

    Attributes
    ----------
    cluster_centers_, inertia_, n_iter_, n_features_in_, backend_, init_
        As for :class:`~fastclust.KMeans`.
    labels_
        int32 ``[n]``, with sizes within the bounds: the best for ``cluster_centers_``. :meth:`predict` knows no sizes
        and returns nearest centres.
    """

    _kind: ClassVar[str] = "balanced_kmeans"

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        size_min: int | None = None,
        size_max: int | None = None,
        init: Any = "auto",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        metric: Any = "euclidean",
        backend: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.size_min = size_min
        self.size_max = size_max
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.metric = metric
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Cluster the rows ``X`` ``[n, d]``. Weights count in centres and inertia; sizes are numbers of rows.

        Raises
        ------
        InputError, InputTypeError
            As :meth:`fastclust.KMeans.fit`, and for bounds that no sizes meet.
        OperationCancelledError
            A progress listener asked to stop.
        """
        low, high = self._check_parameters()
        matrix = check_rows(self, X, reset=True)
        n = matrix.shape[0]
        self._check_count(n)
        high = n if high is None else high
        if low * self.n_clusters > n:
            raise InputError(
                "size_min", low, f"at most {n // self.n_clusters}: {self.n_clusters} clusters share {n} rows"
            )
        if high * self.n_clusters < n:
            least = -(-n // self.n_clusters)
            raise InputError("size_max", high, f"at least {least}: {self.n_clusters} clusters share {n} rows")
        weights = check_weights(sample_weight, n)
        space = space_of(self.metric, matrix.shape[1])
        rows = rows_of(space.enter(matrix))
        random = check_random_state(self.random_state)
        self._n_init = self._runs()
        runs = [self._run(rows, weights, space, random, (low, high), run) for run in range(self._n_init)]
        best = min(runs, key=lambda found: found.inertia)
        self._inner_centers = self.cluster_centers_ = best.centers
        self.labels_, self.inertia_, self.n_iter_ = best.labels, best.inertia, best.n_iter
        self.backend_ = "numba"
        self._n_features_out = self.n_clusters
        return self

    def _run(
        self,
        rows: Rows,
        weights: NDArray[np.float64] | None,
        space: Space,
        random: RandomState,
        sizes: tuple[int, int],
        run: int,
    ) -> _Found:
        each = np.ones(rows.shape[0]) if weights is None else weights
        drawn, self.init_ = initial_centers(self.init, rows, self.n_clusters, each, random)
        centers = space.project(drawn)
        tol = self.tol * rows.variance() if self.tol else 0.0
        gathered = rows.sums(self.n_clusters, weights)
        n_iter = 0
        for n_iter in range(1, self.max_iter + 1):
            labels = self._assign(rows, centers, weights, sizes)
            sums, total, changed = gathered.step(labels)
            moved = means_of(sums, total, centers, cosine=space.name == "cosine")
            shift = float(((moved.astype(np.float64) - centers) ** 2).sum())
            centers = moved
            said = f"run {run + 1}, iteration {n_iter}"
            progress.report("kmeans", run + n_iter / self.max_iter, self._n_init, said, bound=True)
            if self.verbose:
                print(f"BalancedKMeans run {run + 1}, iteration {n_iter}: {changed} labels changed")  # noqa: T201
            if (changed == 0 and n_iter > 1) or shift <= tol:
                break
        labels = self._assign(rows, centers, weights, sizes)
        inertia = float(rows.own(centers, labels) @ each)
        return _Found(centers, labels, inertia, n_iter)

    @staticmethod
    def _assign(
        rows: Rows, centers: NDArray[Any], weights: NDArray[np.float64] | None, sizes: tuple[int, int]
    ) -> NDArray[np.int32]:
        costs = rows.all(centers)
        costs *= costs
        if weights is not None:
            costs *= weights[:, None].astype(costs.dtype)
        return balance(costs, *sizes)

    def _check_parameters(self) -> tuple[int, int | None]:
        check_integer("n_clusters", self.n_clusters)
        check_integer("max_iter", self.max_iter)
        check_number("tol", self.tol)
        if self.n_init != "auto":
            check_integer("n_init", self.n_init)
        low = 1 if self.size_min is None else self.size_min
        check_integer("size_min", low, least=0)
        if self.size_max is not None:
            check_integer("size_max", self.size_max, least=max(1, low))
        return low, self.size_max
