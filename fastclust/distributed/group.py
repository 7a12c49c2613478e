"""k-means of rows that the processes of a torch.distributed group hold between them: a GPU each, or a CPU's cores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils import check_random_state

from fastclust import cluster, progress
from fastclust.cluster.chunks import Spread, farthest, which_occupied
from fastclust.cluster.inputs import check_weights
from fastclust.cluster.kmeans import warn_of_duplicates
from fastclust.cluster.lloyd import Fit, means_of
from fastclust.cluster.rows import DenseRows
from fastclust.cluster.seeding import initial_centers
from fastclust.distributed.agreement import agree, given
from fastclust.distributed.process_group import ProcessGroup
from fastclust.errors import InputError

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust.cluster.rows import Rows
    from fastclust.cluster.spaces import Space

__all__ = ["GroupKMeans"]

#: Rows a cluster of the sample that a start is made on.
_SAMPLED = 256
_BOUNDS = {"auto": None, "lloyd": False, "elkan": True}


class GroupKMeans(cluster.KMeans):
    """k-means by Lloyd's iteration in a process group (torchrun), as :class:`fastclust.KMeans` otherwise.

    Each process calls ``fit`` with rows of its own, which stay with it: on its GPU with ``backend="triton"`` (set
    ``torch.cuda.set_device`` first), in memory, or in files. In an iteration only float64 sums ``[k, d]`` go round,
    over NCCL, gloo or what the group was made with, and every process adds them up in the order of the ranks: all have
    the same centres, to the bit, and as many processes with the same rows get them again.

    Parameters
    ----------
    n_clusters, init, n_init, max_iter, tol, metric, algorithm, arithmetic, backend, random_state, verbose, copy_x
        As for :class:`fastclust.KMeans`, the same in all processes, which is checked; so is that all give weights or
        none. ``init`` is an array, or a name: such a start is made on a sample of 256 rows a cluster, and
        ``random_state`` must be an integer. ``n_init`` is "auto" or 1. With
        ``verbose`` process 0 prints a line an iteration.

    Attributes
    ----------
    labels_
        int32: of this process's rows.
    cluster_centers_, inertia_, n_iter_, n_features_in_, backend_, algorithm_, init_
        Of all rows, the same in all processes.
    certified_fraction_
        Of this process's rows, after "triton".
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, checkpoint: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Cluster the rows of all processes; ``X`` ``[n, d]`` and ``sample_weight`` ``[n]`` are this one's.

        Raises
        ------
        BackendError
            No process group, or what the backend cannot do.
        InputError, InputTypeError
            As :meth:`fastclust.KMeans.fit`; parameters, widths or dtypes that differ between processes.
        OperationCancelledError
            A progress listener of this process asked to stop.
        UnavailableError, InternalError
            Another process failed, with an error of ours or with any other; the message has its number and what it
            raised. Also (UnavailableError) what torch.distributed raises.

        Notes
        -----
        What one process raises ends all of them, when they next exchange something: in that iteration. One that is
        killed, or interrupted while it waits for the others, cannot tell them: torch.distributed ends them, over gloo
        as soon as the connection closes, over NCCL by the timeout that the group was made with.
        """
        ranks = ProcessGroup.joined()
        with ranks.together():
            rows, space, weights = self._checked(X, sample_weight, checkpoint)
            said = ranks.say(given(self, rows, space, weighted=weights is not None))
            agree(said, ranks.rank)
            counts = [each.n_rows for each in said]
            self._check_count(sum(counts))
            whole = _Whole(ranks, rows, weights, counts)
            start, init = whole.start(self.init, self.n_clusters, check_random_state(self.random_state))
            tol = self.tol * whole.variance() if self.tol else 0.0
            best = self._iterate(whole, space.project(start), tol, cosine=space.name == "cosine")
            centers = self._group_centers(whole, X, best, space)
            found = int(np.any(ranks.say(which_occupied(best.labels, self.n_clusters)), axis=0).sum())
        self.__dict__.pop("certified_fraction_", None)
        certified = getattr(rows, "certified", None)
        if certified is not None:
            self.certified_fraction_ = float(certified)
        self._n_init, self.init_ = 1, init
        self.backend_, self.algorithm_, self._inner_centers = best.backend, best.algorithm, best.centers
        self.labels_, self.inertia_, self.n_iter_ = best.labels, best.inertia, best.n_iter
        self.cluster_centers_ = centers
        self._n_features_out = len(best.centers)
        if found < self.n_clusters:
            warn_of_duplicates(found, self.n_clusters)
        return self

    def _checked(self, X: Any, sample_weight: Any, checkpoint: Any) -> tuple[Rows, Space, NDArray[np.float64] | None]:
        self._check_parameters()
        if self.n_init not in ("auto", 1):
            raise InputError("n_init", repr(self.n_init), "auto or 1: a group makes one run")
        if checkpoint is not None:
            raise InputError("checkpoint", repr(checkpoint), "None: a group keeps none")
        if callable(self.init):
            raise InputError("init", "a callable", "a name or an array: a callable would see one process's rows only")
        if isinstance(self.init, str) and not isinstance(self.random_state, (int, np.integer)):
            raise InputError("random_state", repr(self.random_state), "an integer, the same in all processes")
        rows, space = self._inside(X, reset=True)
        return rows, space, check_weights(sample_weight, rows.shape[0])

    def _iterate(self, whole: _Whole, centers: NDArray[Any], tol: float, *, cosine: bool) -> Fit:
        rows, weights = whole.rows, whole.weights
        nearest, gathered = rows.moving(len(centers), weights, self.backend, _BOUNDS[self.algorithm])
        n_iter = 0
        while n_iter < self.max_iter:
            n_iter += 1
            labels = nearest.step(centers)
            if self.verbose:
                self._say(whole, f"Iteration {n_iter - 1}, inertia", rows.inertia(centers, labels, weights))
            sums, total, changed = whole.added(*gathered.step(labels))
            empty = np.flatnonzero(total == 0)
            if len(empty):
                whole.fill(empty, sums, total, rows.own(centers, labels), np.asarray(_host(labels)))
            moved = means_of(sums, total, centers, cosine=cosine)
            shift = float(((moved.astype(np.float64) - centers) ** 2).sum())
            centers = moved
            progress.report("kmeans", n_iter, self.max_iter, f"iteration {n_iter}", bound=True)
            if (changed == 0 and n_iter > 1) or shift <= tol:
                break
        labels, inertia = rows.finish(nearest, centers, weights)
        everywhere = math.fsum(whole.ranks.say(inertia))
        name = "elkan" if nearest.bounded else "lloyd"
        return Fit(centers, labels, everywhere, n_iter, nearest.backend, name)

    @staticmethod
    def _say(whole: _Whole, what: str, inertia: float) -> None:
        """Print a line in the first process, with the inertia of all rows."""
        everywhere = math.fsum(whole.ranks.say(inertia))
        if whole.ranks.rank == 0:
            print(f"{what} {everywhere}.")  # noqa: T201

    def _group_centers(self, whole: _Whole, X: Any, fit: Fit, space: Space) -> NDArray[Any]:
        """Centres among the rows as they came, from each process's means and weights, where the space is another."""
        if space.name != "mahalanobis":
            return fit.centers
        k = len(fit.centers)
        held = np.bincount(fit.labels, whole.weights, k).astype(np.float64)
        means = self._outer_centers(X, np.dtype(np.float64), fit, whole.weights, space)
        sums, total, _ = whole.added(means * held[:, None], held, 0)
        centers: NDArray[Any] = (sums / np.maximum(total, np.finfo(np.float64).tiny)[:, None]).astype(whole.rows.dtype)
        return centers


class _Whole:
    """The rows of all processes, of which this one has some."""

    def __init__(self, ranks: ProcessGroup, rows: Rows, weights: NDArray[np.float64] | None, counts: list[int]) -> None:
        self.ranks, self.rows, self.weights = ranks, rows, weights
        self._total = sum(counts)
        self._first = sum(counts[: ranks.rank])

    def start(self, init: Any, k: int, random: RandomState) -> tuple[NDArray[Any], str]:
        """The same starting centres for all, from some of their rows, evenly spread over all of them."""
        if not isinstance(init, str):
            return initial_centers(init, self.rows, k, self.weights, random)
        numbers = np.linspace(0, self._total, min(self._total, _SAMPLED * k), endpoint=False).astype(np.int64)
        mine = numbers[(numbers >= self._first) & (numbers < self._first + self.rows.shape[0])] - self._first
        each = None if self.weights is None else self.weights[mine]
        parts = self.ranks.say((self.rows.take(mine), each))
        rows = DenseRows(np.ascontiguousarray(np.concatenate([part for part, _ in parts])))
        weights = None if self.weights is None else np.concatenate([part for _, part in parts])
        start, name = initial_centers(init, rows, k, weights, random)
        return start, name if len(numbers) == self._total else f"{name}, on a sample"

    def variance(self) -> float:
        """Mean variance of the columns."""
        moments = getattr(self.rows, "moments", None)
        if moments is None:
            own = Spread(self.rows.shape[1])
            for _, X in self.rows.blocks():  # type: ignore[attr-defined]
                own.add(X)
            moments = own.moments
        spread = Spread(self.rows.shape[1])
        spread.merge(self.ranks.say(moments()))
        return spread.variance()

    def added(
        self, sums: NDArray[np.float64], total: NDArray[np.float64], changed: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """What all processes have, added up in the order of the ranks."""
        together = np.concatenate([sums, total[:, None]], axis=1)
        parts = self.ranks.gather(np.append(together.ravel(), float(changed)))
        whole = parts[0].copy()
        for part in parts[1:]:
            whole += part
        summed = whole[:-1].reshape(together.shape)
        return summed[:, :-1].copy(), summed[:, -1].copy(), round(whole[-1])

    def fill(
        self,
        empty: NDArray[np.int64],
        sums: NDArray[np.float64],
        total: NDArray[np.float64],
        distances: NDArray[np.float64],
        labels: NDArray[np.int32],
    ) -> None:
        """Give each empty cluster a row, those farthest from their centres first, as one process would."""
        far = farthest(distances, self.weights, len(empty))
        mine = [
            (-float(distances[row]), self._first + int(row), values, self._weight(row), int(labels[row]))
            for row, values in zip(far, self.rows.take(far).astype(np.float64), strict=True)
        ]
        listed = sorted((each for part in self.ranks.say(mine) for each in part), key=lambda each: each[:2])
        for cluster_, (_, _, values, weight, old) in zip(empty, listed, strict=False):
            sums[old] -= weight * values
            total[old] -= weight
            sums[cluster_], total[cluster_] = weight * values, weight

    def _weight(self, row: int) -> float:
        return 1.0 if self.weights is None else float(self.weights[row])


def _host(labels: Any) -> Any:
    return labels.cpu().numpy() if hasattr(labels, "cpu") else labels
