"""Exact k-means over a cluster: an actor for each stretch of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastclust import cluster
from fastclust.cluster.inputs import check_width
from fastclust.cluster.spaces import Space, space_of
from fastclust.data import open_rows
from fastclust.data.rows import bytes_of
from fastclust.distributed.pool import Workers, check_workers, nodes, open_workers
from fastclust.distributed.rows import RemoteRows, stretches
from fastclust.distributed.shard import Shard
from fastclust.errors import BackendError
from fastclust_kernels.tensors import wanted

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust.cluster.lloyd import Fit
    from fastclust.cluster.rows import Rows

__all__ = ["KMeans"]


class KMeans(cluster.KMeans):
    """k-means clustering by Lloyd's iteration on a Ray cluster, as :class:`fastclust.KMeans` otherwise.

    Each worker reads its stretch of the rows once and keeps it, or streams it where ``memory`` is too little. In an
    iteration, centres go out and float64 sums come back; they are added up in the order of the stretches, so that as
    many workers give the same bits on any cluster. A worker that is lost with its node is started elsewhere and does
    its part of the iteration again, to the same bits.

    Files must be readable by the same names on all nodes: on a shared file system or by URL.

    Parameters
    ----------
    n_clusters, init, n_init, max_iter, tol, metric, algorithm, arithmetic, backend, random_state, verbose, copy_x
        As for :class:`fastclust.KMeans`. ``init="auto"`` and "k-means++" start on a sample of the rows. Workers
        compute on processors: ``arithmetic`` is "exact", ``backend`` "auto" or another one of theirs.
    address
        Of the Ray cluster; None for the one this process is connected to, or a local one; "here" for the same workers
        in this process, without Ray.
    n_workers
        How many stretches the rows are cut into; "auto" is one a node.
    memory
        What a worker may take, such as "8GB"; None for a quarter of what is free where it starts.
    threads
        Processors of a worker; None for all of its machine.

    Attributes
    ----------
    cluster_centers_, labels_, inertia_, n_iter_, n_features_in_, backend_, algorithm_, init_
        As for :class:`fastclust.KMeans`.
    n_workers_, n_repeated_
        How many workers there were, and how many calls were made again because one was lost.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "auto",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        metric: Any = "euclidean",
        algorithm: str = "auto",
        arithmetic: str = "exact",
        backend: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        copy_x: bool = True,
        address: str | None = None,
        n_workers: int | str = "auto",
        memory: int | str | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(
            n_clusters,
            init=init,
            n_init=n_init,
            max_iter=max_iter,
            tol=tol,
            metric=metric,
            algorithm=algorithm,
            arithmetic=arithmetic,
            backend=backend,
            random_state=random_state,
            verbose=verbose,
            copy_x=copy_x,
        )
        self.address = address
        self.n_workers = n_workers
        self.memory = memory
        self.threads = threads

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, checkpoint: Any = None) -> Self:
        """Cluster the rows ``X`` ``[n, d]``: a source of :func:`fastclust.open_rows`, what it opens, or an array.

        Raises
        ------
        MissingPackageError, UnavailableError
            Ray is not installed, the cluster cannot be reached, or a worker did not come back in five minutes.
        InputError, InputTypeError, BackendError, OperationCancelledError, PreconditionError
            As :meth:`fastclust.KMeans.fit`.
        """
        check_workers(self.n_workers, self.threads)
        self._workers: Workers | None = None
        self._remote: RemoteRows | None = None
        try:
            return super().fit(open_rows(X), y, sample_weight, checkpoint=checkpoint)
        finally:
            if self._workers is not None:
                self.n_workers_, self.n_repeated_ = len(self._workers), self._workers.repeated
                self._workers.close()
            del self._workers, self._remote

    def _inside(self, X: Any, *, reset: bool, folder: Path | None = None) -> tuple[Rows, Space]:
        if not reset:
            return super()._inside(X, reset=reset, folder=folder)
        check_width(self, X, reset=True)
        space = space_of(self.metric, X.shape[1])
        cuts = stretches(len(X), nodes(self.address) if self.n_workers == "auto" else int(self.n_workers))
        given = []
        for low, high in cuts:
            part = X.stretch(low, high)
            part.memory = None if self.memory is None else bytes_of(self.memory)
            given.append((part, space, self.threads))
        self._workers = open_workers(Shard, given, self.address)
        self._remote = RemoteRows(X, space, self._workers, cuts)
        return self._remote, space

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if wanted(self.backend, None):
            raise BackendError(
                f"backend={self.backend!r}: workers of a cluster do not do this. Allowed: auto, numba, reference; "
                "on GPUs fastclust.KMeans or, in a process group, GroupKMeans."
            )

    def _settled(self) -> dict[str, Any]:
        """With the number of stretches that there are: other ones add up to other last bits."""
        assert self._workers is not None
        return {**super()._settled(), "n_workers": len(self._workers)}

    def _outer_centers(
        self, X: Any, dtype: np.dtype[Any], fit: Fit, weights: NDArray[np.float64] | None, space: Space
    ) -> NDArray[Any]:
        if space.name != "mahalanobis":
            return fit.centers
        del X
        rows, k = self._remote, len(fit.centers)
        assert rows is not None
        labels = [(rows.workers.share(np.array(fit.labels[low:high])), k) for low, high in rows.cuts]
        each = rows.shared_weights(weights)
        parts = rows.collect("means", own=[(*one, *other) for one, other in zip(labels, each, strict=True)])
        sums, total = sum(part[0] for part in parts), sum(part[1] for part in parts)
        means: NDArray[Any] = (sums / np.maximum(total, np.finfo(np.float64).tiny)[:, None]).astype(dtype)
        return means
