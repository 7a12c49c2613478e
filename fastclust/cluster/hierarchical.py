"""k-means for very many clusters: a coarse level says which few centres are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.utils import check_random_state

from fastclust import progress
from fastclust.cluster.base import Centers, check_integer, check_number
from fastclust.cluster.cells import choose_in_cells
from fastclust.cluster.greedy import is_dear
from fastclust.cluster.inputs import check_rows, check_weights
from fastclust.cluster.lloyd import means_of
from fastclust.cluster.passes import Passes, sample_of
from fastclust.cluster.rows import DenseRows
from fastclust.cluster.seeding import initial_centers
from fastclust.cluster.settling import Settling, grouped
from fastclust.cluster.spaces import space_of
from fastclust.cluster.streaming import StreamedRows
from fastclust.data.limits import is_streamed
from fastclust.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust_kernels.assign._candidates import Cells

__all__ = ["HierarchicalKMeans"]

#: Iterations on the sample of rows that stay in their files.
_SAMPLED = 4


class HierarchicalKMeans(Centers):
    """k-means on two levels, for tens of thousands of clusters.

    The rows are put into about ``sqrt(n_clusters)`` cells, and the start is greedy k-means++ in each cell for its
    share of the clusters (over all rows where that is cheap). Lloyd's iteration over all rows follows. From time to
    time the centres are put into cells, and each row looks at all centres of the ``n_probes`` nearest ones; in between
    it looks at 16 of those that were nearest then. In the first iterations centres that are of little use move to where
    one more is of much (Fritzke, "LBG-U", 1997). A row is *certified* if the triangle inequality shows that no centre
    of another cell can be nearer.

    Parameters
    ----------
    n_clusters, metric, random_state, verbose
        As for :class:`~fastclust.KMeans`; rows must be dense.
    n_cells
        Cells of the coarse level; "auto" is the square root of ``n_clusters``.
    n_probes
        Cells that each row looks at in a search; "auto" is a quarter of them. With all of them the labels are exact.
    max_iter
        Most iterations.
    tol
        Iterations end when at most this share of the rows change their cluster in a search.

    Attributes
    ----------
    cluster_centers_, labels_, inertia_, n_iter_, n_features_in_, backend_
        As for :class:`~fastclust.KMeans`. :meth:`predict` is exact: it looks at all centres.
    certified_
        Share of the rows whose label is certainly that of the nearest centre.
    """

    _kind: ClassVar[str] = "hierarchical_kmeans"

    def __init__(
        self,
        n_clusters: int = 1024,
        *,
        n_cells: int | str = "auto",
        n_probes: int | str = "auto",
        max_iter: int = 13,
        tol: float = 1e-3,
        metric: Any = "euclidean",
        backend: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_cells = n_cells
        self.n_probes = n_probes
        self.max_iter = max_iter
        self.tol = tol
        self.metric = metric
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Cluster the rows ``X`` ``[n, d]``, weighted by ``sample_weight`` ``[n]``.

        Rows of :func:`fastclust.open_rows` that take more than half of the memory they were opened with stay in their
        files: both levels begin on a sample of them, and each iteration over all clusters reads them once.

        Raises
        ------
        InputError, InputTypeError
            As :meth:`fastclust.KMeans.fit`.
        OperationCancelledError
            A progress listener asked to stop.
        """
        self._check_parameters()
        if hasattr(X, "tocsr"):
            raise InputTypeError("X", "a sparse matrix", "a dense array", "Call .toarray(), or use KMeans.")
        if is_streamed(X):
            return self._fit_streamed(X, sample_weight)
        matrix = check_rows(self, X, reset=True)
        self._check_count(len(matrix))
        weights = check_weights(sample_weight, len(matrix))
        space = space_of(self.metric, matrix.shape[1])
        self._cosine = space.name == "cosine"
        rows = DenseRows(space.enter(matrix))
        random = check_random_state(self.random_state)
        start, cosine = self._start(rows, weights, random), self._cosine
        found = Settling(rows, start, weights, random, cells=self._cells(), n_probes=self.n_probes, cosine=cosine)
        found.iterate(self.max_iter, self.tol, verbose=bool(self.verbose))
        self.labels_, distances, self.certified_ = found.finish()
        self._inner_centers = self.cluster_centers_ = found.centers
        self.n_iter_ = found.n_iter
        self.inertia_ = float((distances if weights is None else distances * weights).sum())
        self.backend_ = "numba"
        self._n_features_out = self.n_clusters
        return self

    def _fit_streamed(self, X: Any, sample_weight: Any) -> Self:
        """Levels found on a sample that memory holds; then passes over the files."""
        rows, space = self._inside(X, reset=True)
        assert isinstance(rows, StreamedRows)
        n = rows.shape[0]
        self._check_count(n)
        weights = check_weights(sample_weight, n)
        self._cosine = space.name == "cosine"
        random = check_random_state(self.random_state)
        numbers = sample_of(rows, self.n_clusters, random)
        sample, own = rows.some(numbers), None if weights is None else weights[numbers]
        found = Settling(
            sample,
            self._start(sample, own, random),
            own,
            random,
            cells=self._cells(),
            n_probes=self.n_probes,
            cosine=self._cosine,
        )
        with progress.as_part("seed", "kmeans", 1.0, 1.0):
            found.iterate(_SAMPLED, self.tol)
        centers = found.centers
        passes = Passes(rows, weights, self.n_clusters)
        n_iter = 0
        for n_iter in range(1, self.max_iter + 1):
            with progress.as_part("kmeans", "", (n_iter - 1) / self.max_iter, (n_iter - 1) / self.max_iter):
                cells, probes = self._grouped(centers, random)
            sums, total, changed = passes.step(centers, cells, probes)
            centers = means_of(sums, total, centers, cosine=self._cosine)
            progress.report(
                "kmeans", n_iter, self.max_iter, f"iteration {n_iter}, {changed} labels changed", bound=True
            )
            if self.verbose:
                print(f"HierarchicalKMeans iteration {n_iter}: {changed} labels changed")  # noqa: T201
            if n_iter > 1 and changed <= self.tol * n:
                break
        self._inner_centers = self.cluster_centers_ = centers
        self.labels_, self.n_iter_ = passes.labels, n_iter
        with progress.as_part("kmeans", "", 1.0, 1.0):
            cells, probes = self._grouped(centers, random)
        self.inertia_, self.certified_ = passes.finish(centers, cells, probes)
        self.backend_ = "numba"
        self._n_features_out = self.n_clusters
        return self

    def _cells(self) -> int:
        cells = round(self.n_clusters**0.5) if self.n_cells == "auto" else int(self.n_cells)
        return min(max(1, cells), self.n_clusters)

    def _grouped(self, centers: NDArray[Any], random: RandomState) -> tuple[Cells, int]:
        return grouped(centers, self._cells(), self.n_probes, random, cosine=self._cosine)

    def _start(self, rows: DenseRows, weights: NDArray[np.float64] | None, random: RandomState) -> NDArray[Any]:
        each = np.ones(rows.shape[0]) if weights is None else weights
        if not is_dear(rows.shape, self.n_clusters):
            return initial_centers("k-means++", rows, self.n_clusters, each, random)[0]
        return choose_in_cells(rows, self.n_clusters, weights, random, self._cells(), cosine=self._cosine)

    def _check_parameters(self) -> None:
        for name in ("n_clusters", "max_iter"):
            check_integer(name, getattr(self, name))
        check_number("tol", self.tol)
        for name in ("n_cells", "n_probes"):
            if getattr(self, name) != "auto":
                check_integer(name, getattr(self, name))
        if self.backend not in ("auto", "numba"):
            raise InputError("backend", repr(self.backend), "auto, numba")
