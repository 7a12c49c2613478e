"""k-means on batches: for more rows than fit into memory or into the time there is."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.utils import check_random_state

from fastclust import progress
from fastclust.cluster.base import Centers, check_integer, check_number
from fastclust.cluster.batches import Batches
from fastclust.cluster.inputs import check_weights
from fastclust.cluster.lloyd import spherical
from fastclust.cluster.patience import Patience
from fastclust.cluster.seeding import initial_centers
from fastclust.cluster.streaming import StreamedRows
from fastclust.errors import InputError

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust.cluster.rows import Rows
    from fastclust.cluster.spaces import Space

__all__ = ["MiniBatchKMeans"]


class MiniBatchKMeans(Centers):
    """k-means that moves its centres by one batch of rows after the other, with scikit-learn's parameters.

    Each centre is the mean of all rows that ever were nearest to it when their batch came (Sculley, "Web-scale k-means
    clustering", WWW 2010). :meth:`fit` draws batches with a chance proportional to the weights; :meth:`partial_fit`
    takes the rows it is given as one batch, so that data may come in pieces from anywhere.

    Parameters
    ----------
    n_clusters, metric, backend, random_state
        As for :class:`~fastclust.KMeans`. A fitted MahalanobisMetric is taken by ``fit`` and ``partial_fit`` alike;
        ``cluster_centers_`` are then in its space.
    init, n_init
        As for :class:`~fastclust.KMeans`, on a sample; "auto" tries 3 random starts. The best start counts.
    max_iter
        Most passes over as many rows as there are.
    batch_size
        Rows of a batch.
    verbose
        Print a line a batch.
    compute_labels
        Whether fit ends with a pass that finds all labels and the inertia.
    tol
        If above 0, centres that move by less than this, squared, relative to the mean variance, have converged.
    max_no_improvement
        Batches without improvement of the smoothed inertia after which fit ends; None for never.
    init_size
        Rows on which starts are made; None is three batches, at least three times the clusters.
    reassignment_ratio
        Clusters with less than this share of the rows of the largest one are put on random rows now and then.

    Attributes
    ----------
    cluster_centers_, labels_, inertia_, n_features_in_, backend_, init_
        As for :class:`~fastclust.KMeans`; labels and inertia of the last batch after ``partial_fit``.
    n_iter_, n_steps_
        Passes begun, batches taken.
    """

    _kind: ClassVar[str] = "minibatch_kmeans"
    _random_runs: ClassVar[int] = 3

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "auto",
        max_iter: int = 100,
        batch_size: int = 1024,
        verbose: int = 0,
        compute_labels: bool = True,
        random_state: Any = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: int | str = "auto",
        reassignment_ratio: float = 0.01,
        metric: Any = "euclidean",
        backend: str = "auto",
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.metric = metric
        self.backend = backend

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Cluster the rows ``X`` ``[n, d]``, weighted by ``sample_weight`` ``[n]``, from a new start.

        Rows of :func:`fastclust.open_rows` that take more than half of the memory they were opened with stay in their
        files: batches are then drawn from a pool of spans of them, which changes as it is used up.

        Raises
        ------
        InputError, InputTypeError
            As :meth:`fastclust.KMeans.fit`.
        OperationCancelledError
            A progress listener asked to stop.
        """
        self._check_parameters()
        rows, space, weights = self._take(X, sample_weight, reset=True)
        n = rows.shape[0]
        self._check_count(n)
        random = check_random_state(self.random_state)
        self._batch_size = min(self.batch_size, n)
        self._init_size = self._size_of_init(n)
        self._random = random
        self._start(rows, space, weights, random)
        tol = self.tol * rows.variance() if self.tol else 0.0
        patience = Patience(tol, self.max_no_improvement, min(1.0, 2.0 * self._batch_size / (n + 1)), self.verbose)
        steps = (self.max_iter * n) // self._batch_size
        batches = Batches(rows, weights, self._batch_size, random)
        step = -1
        for step in range(steps):
            batch, unit = batches.next()
            inertia, moved = self._step(batch, unit, random)
            progress.report("kmeans", step + 1, steps, f"batch {step + 1}", bound=True)
            if patience.over(step + 1, steps, inertia / self._batch_size, moved):
                break
        self.n_steps_ = step + 1
        self.n_iter_ = int(np.ceil((step + 1) * self._batch_size / n))
        self._publish()
        if self.compute_labels:
            self._label(rows, weights)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's
        """Take rows ``X`` ``[n, d]``, weighted by ``sample_weight`` ``[n]``, as a batch; the first makes the start too.

        Raises InputError, InputTypeError: a first batch of fewer rows than clusters, rows of another width.
        """
        first = not hasattr(self, "_inner_centers")
        if first:
            self._check_parameters()
        rows, space, weights = self._take(X, sample_weight, reset=first)
        n = rows.shape[0]
        if first:
            self._check_count(n)
            self._random = check_random_state(self.random_state)
            self._init_size = n
            self._start(rows, space, weights, self._random)
            self.n_steps_ = 0
        self._batch_size = n
        self._step(rows, np.ones(n) if weights is None else weights, self._random)
        self.n_steps_ += 1
        self._publish()
        if self.compute_labels:
            self._label(rows, weights)
        return self

    def _label(self, rows: Rows, weights: NDArray[np.float64] | None) -> None:
        self.labels_, distances, self.backend_ = rows.assign(self._inner_centers, self.backend)
        self.inertia_ = float(distances.sum() if weights is None else distances @ weights)

    def _take(self, X: Any, sample_weight: Any, *, reset: bool) -> tuple[Rows, Space, NDArray[np.float64] | None]:
        rows, space = self._inside(X, reset=reset)
        return rows, space, check_weights(sample_weight, rows.shape[0])

    def _size_of_init(self, n: int) -> int:
        size = self.init_size
        if size is None:
            size = 3 * self._batch_size
        elif size < self.n_clusters:
            warnings.warn(
                f"init_size={size} should be larger than n_clusters={self.n_clusters}. Setting it to "
                "min(3*n_clusters, n_samples).",
                RuntimeWarning,
                stacklevel=3,
            )
        if size < self.n_clusters:
            size = 3 * self.n_clusters
        return min(size, n)

    def _start(self, rows: Rows, space: Space, weights: NDArray[np.float64] | None, random: RandomState) -> None:
        """The best of several starts, judged on a sample."""
        n, size = rows.shape[0], self._init_size
        judging, judging_weights = rows, weights
        if size < n:
            judges = random.randint(0, n, size)
            judging, judging_weights = rows.some(judges), None if weights is None else weights[judges]
        least = np.inf
        runs = self._n_init = self._runs()
        for _ in range(runs):
            sample, own = rows, weights
            if size < n:
                picked = random.randint(0, n, size)
                sample, own = rows.some(picked), None if weights is None else weights[picked]
            drawn, self.init_ = initial_centers(self.init, sample, self.n_clusters, own, random)
            centers = space.project(drawn)
            distances = judging.assign(centers, self.backend)[1]
            inertia = float(distances.sum() if judging_weights is None else distances @ judging_weights)
            if inertia < least:
                least, self._inner_centers = inertia, centers
        self._exact = self._inner_centers.astype(np.float64)
        self._counts = np.zeros(self.n_clusters)
        self._since, self._turn = 0, n if isinstance(rows, StreamedRows) else 0
        self._cosine = space.name == "cosine"

    def _step(self, batch: Rows, weights: NDArray[np.float64], random: RandomState) -> tuple[float, float]:
        """Move the centres by a batch; return the batch's inertia before, and the squared way they went."""
        before = self._inner_centers
        labels, distances, self.backend_ = batch.assign(before, self.backend)
        sums, added, _ = batch.sums(self.n_clusters, weights).step(labels)
        hit = added > 0
        total = self._counts + added
        self._exact[hit] = (self._exact[hit] * self._counts[hit, None] + sums[hit]) / total[hit, None]
        self._counts = total
        self._reassign(batch, random)
        if self._cosine:
            self._exact = spherical(self._exact, before)
        self._inner_centers = self._exact.astype(before.dtype)
        moved = float(((self._inner_centers - before).astype(np.float64) ** 2).sum())
        return float(distances @ weights), moved

    def _reassign(self, batch: Rows, random: RandomState) -> None:
        """Put clusters that have hardly any rows on random ones, every ten rows a cluster, or if one has none.

        Of rows in files, a cluster is not poor before all of them had their turn.
        """
        self._since += batch.shape[0]
        if self._since < self._turn or (self._counts.all() and self._since < 10 * self.n_clusters):
            return
        self._since = 0
        poor = self._counts < self.reassignment_ratio * self._counts.max()
        most = batch.shape[0] // 2
        if poor.sum() > most:
            poor[np.argsort(self._counts, kind="stable")[most:]] = False
        many = int(poor.sum())
        if not many:
            return
        if self.verbose:
            print(f"[MiniBatchKMeans] Reassigning {many} cluster centers.")  # noqa: T201
        self._exact[poor] = batch.take(random.choice(batch.shape[0], replace=False, size=many))
        # As many as the poorest of the others, so that they are not reassigned again at once.
        self._counts[poor] = self._counts[~poor].min()

    def _publish(self) -> None:
        self.cluster_centers_ = self._inner_centers
        self._n_features_out = self.n_clusters

    def _check_parameters(self) -> None:
        for name in ("n_clusters", "max_iter", "batch_size"):
            check_integer(name, getattr(self, name))
        for name in ("n_init", "init_size"):
            if getattr(self, name) not in (None, "auto"):
                check_integer(name, getattr(self, name))
        if self.max_no_improvement is not None:
            check_integer("max_no_improvement", self.max_no_improvement, least=0)
        check_number("tol", self.tol)
        check_number("reassignment_ratio", self.reassignment_ratio)
        if not isinstance(self.compute_labels, bool | np.bool_):
            raise InputError("compute_labels", repr(self.compute_labels), "True or False")
