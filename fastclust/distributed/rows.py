"""Rows that lie with workers, as k-means asks of them: only centres go out, and only sums come back."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.cluster.chunks import CHUNK, Spread, total
from fastclust.cluster.streaming import StreamedRows
from fastclust.distributed.shard import How

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastclust.cluster.rows import Nearest, Rows
    from fastclust.cluster.spaces import Space
    from fastclust.data import RowSource
    from fastclust.distributed.pool import Workers

__all__ = ["RemoteRows", "stretches"]

#: Rows a cluster that a sample for the start has, and rows that it has at least.
_WANTED, _LEAST = 32, 1 << 16


def stretches(n: int, many: int) -> list[tuple[int, int]]:
    """Cut n rows into at most ``many`` stretches of whole chunks, of about one length."""
    chunks = -(-n // CHUNK)
    ends = [min(n, CHUNK * (chunks * place // many)) for place in range(many + 1)]
    ends[-1] = n
    return [(low, high) for low, high in itertools.pairwise(ends) if low < high]


class RemoteRows:
    """Rows of a source, as :class:`~fastclust.cluster.rows.Rows`.

    Sums are added up in the order of the stretches, in float64: the same stretches give the same bits, whoever has
    them, and however often one is lost.
    """

    def __init__(self, source: RowSource, space: Space, workers: Workers, cuts: list[tuple[int, int]]) -> None:
        self.matrix = source
        self._here = StreamedRows(source, space)
        self.dtype, self.shape = self._here.dtype, self._here.shape
        self.workers, self.cuts = workers, cuts
        self._weights: list[tuple[Any]] | None = None

    def collect(self, method: str, *common: Any, own: list[tuple[Any, ...]] | None = None) -> list[Any]:
        """Ask all workers; results in the order of the stretches."""
        results: list[Any] = [None] * len(self.cuts)
        done = 0
        for number, result in self.workers.each(method, *common, own=own):
            results[number] = result
            done += self.cuts[number][1] - self.cuts[number][0]
            progress.report("pass", done, self.shape[0], f"{done} of {self.shape[0]} rows")
        return results

    def shared_weights(self, weights: NDArray[np.float64] | None) -> list[tuple[Any]]:
        """What each worker is given of the weights; they go out once."""
        if self._weights is None:
            self._weights = [
                (None if weights is None else self.workers.share(np.ascontiguousarray(weights[low:high])),)
                for low, high in self.cuts
            ]
        return self._weights

    def whole(self, parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
        """One number a row, from each stretch's."""
        out = self.array(dtype)
        for (low, high), part in zip(self.cuts, parts, strict=True):
            out[low:high] = part
        return out

    def array(self, dtype: Any) -> NDArray[Any]:
        """One number a row."""
        return self._here.array(dtype)

    def take(self, numbers: Any) -> NDArray[Any]:
        """Some rows, read here."""
        return self._here.take(numbers)

    def some(self, numbers: Any) -> Rows:
        """Some rows, here."""
        return self._here.some(numbers)

    def sample(self, k: int, random: Any) -> NDArray[np.int64]:
        """Numbers of distinct rows for a start: one of each of as many stretches of one length."""
        n = self.shape[0]
        size = min(n, max(_WANTED * k, _LEAST))
        edges = np.linspace(0, n, size + 1).astype(np.int64)
        drawn: NDArray[np.int64] = edges[:-1] + (random.uniform(size=size) * np.diff(edges)).astype(np.int64)
        return drawn

    def nearest(self, k: int, backend: str, bounds: bool | None) -> _Nearest:
        """Labels, again and again; sums come with them."""
        self._last = _Nearest(self, How(k, backend, bounds))
        return self._last

    def sums(self, k: int, weights: NDArray[np.float64] | None) -> _Sums:
        """Sums for the labels that :meth:`nearest` gave last."""
        del k
        self._last.weights = weights
        return _Sums(self._last)

    def moving(
        self, k: int, weights: NDArray[np.float64] | None, backend: str, bounds: bool | None
    ) -> tuple[_Nearest, _Sums]:
        """Labels, and sums that come with them."""
        return self.nearest(k, backend, bounds), self.sums(k, weights)

    def assigned(
        self, centers: NDArray[Any], backend: str
    ) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.float64]]]:
        """Labels and squared distances, stretch by stretch."""
        found = self.collect("nearest", self.workers.share(centers), backend)
        for (start, _), (labels, distances, _) in zip(self.cuts, found, strict=True):
            yield start, labels, distances

    def assign(self, centers: NDArray[Any], backend: str) -> tuple[NDArray[np.int32], NDArray[np.float64], str]:
        """Labels, squared distances and the backend, once."""
        found = self.collect("nearest", self.workers.share(centers), backend)
        labels = self.whole([one[0] for one in found], np.int32)
        return labels, self.whole([one[1] for one in found], np.float64), found[0][2]

    def own(self, centers: NDArray[Any], labels: Any) -> NDArray[np.float64]:
        """Squared distances to the centres of the labels, which are those that the centres gave last."""
        found = self.collect("own", self._last.how, self.workers.share(centers))
        labels.all = self.whole([one[0] for one in found], np.int32)
        return self.whole([one[1] for one in found], np.float64)

    def few(self, others: NDArray[Any]) -> NDArray[np.float64]:
        """Not for rows elsewhere."""
        return self._here.few(others)

    def all(self, centers: NDArray[Any]) -> NDArray[Any]:
        """Not for rows elsewhere."""
        return self._here.all(centers)

    def variance(self) -> float:
        """Mean variance of the columns."""
        spread = Spread(self.shape[1])
        spread.merge(self.collect("moments"))
        return spread.variance()

    def inertia(self, centers: NDArray[Any], labels: Any, weights: NDArray[np.float64] | None) -> float:
        """Weighted sum of squared distances to the nearest centres."""
        del labels
        return self._ended(centers, weights)[1]

    def finish(
        self, nearest: Nearest, centers: NDArray[Any], weights: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int32], float]:
        """Labels for the last centres, which come here once, and the inertia."""
        del nearest
        return self._ended(centers, weights)

    def _ended(self, centers: NDArray[Any], weights: NDArray[np.float64] | None) -> tuple[NDArray[np.int32], float]:
        own = self.shared_weights(weights)
        found = self.collect("finish", self._last.how, self.workers.share(centers), own=[*own])
        sums = [value for _, part in found for value in part]
        return self.whole([labels for labels, _ in found], np.int32), total(sums)


class _Labels:
    """Labels that stay with the workers."""

    def __init__(self) -> None:
        #: int32 [n], once distances were asked for.
        self.all: NDArray[np.int32] | None = None

    def __getitem__(self, row: Any) -> Any:
        assert self.all is not None
        return self.all[row]


class _Nearest:
    """Labels of all rows for centres that move, and what workers add up with them."""

    def __init__(self, rows: RemoteRows, how: How) -> None:
        self._rows, self.how = rows, how
        self.backend, self.bounded = "", False
        self.weights: NDArray[np.float64] | None = None
        self._steps = itertools.count()
        self._before: tuple[str, Any] | None = None
        self.found: tuple[NDArray[np.float64], NDArray[np.float64], int] | None = None

    def step(self, centers: NDArray[Any]) -> Any:
        """Find labels, which stay where they are."""
        name, shared = f"{id(self)} {next(self._steps)}", self._rows.workers.share(centers)
        own = self._rows.shared_weights(self.weights)
        parts = self._rows.collect("step", self.how, name, shared, self._before, own=[*own])
        sums, weights, changed, self.backend, self.bounded = parts[0]
        sums, weights = sums.copy(), weights.copy()
        for part in parts[1:]:
            sums += part[0]
            weights += part[1]
            changed += part[2]
        self.found, self._before = (sums, weights, changed), (name, shared)
        return _Labels()


class _Sums:
    """The sums of a :class:`_Nearest`; they have no state, so that a worker may be lost."""

    def __init__(self, nearest: _Nearest) -> None:
        self._nearest = nearest

    def step(self, labels: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Return what came with the labels."""
        del labels
        assert self._nearest.found is not None
        return self._nearest.found

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Nothing."""
        return {}

    def restore(self, state: dict[str, NDArray[np.float64]], labels: Any) -> None:
        """Nothing: the labels were found."""
