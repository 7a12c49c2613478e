"""Rows as k-means sees them, dense or CSR: what is asked of them is the same, how it is computed is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastclust.cluster.chunks import Spread, chunk_sums, total
from fastclust.cluster.few import FewMoving, FewSums, few_moving
from fastclust.errors import BackendError
from fastclust_kernels.assign import assign, distances_to_few, distances_to_own
from fastclust_kernels.assign.moving import MovingAssignment
from fastclust_kernels.mahalanobis import pairs
from fastclust_kernels.update.moving import MovingSums

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["DenseRows", "InMemory", "Nearest", "Rows", "SparseRows", "Sums", "rows_of"]

#: Scores that are computed together for CSR rows: 32 MB.
_SCORES = 1 << 22


class Nearest(Protocol):
    """Labels of the same rows for centres that move."""

    backend: str
    bounded: bool

    def step(self, centers: NDArray[Any]) -> NDArray[np.int32]:
        """Labels ``[n]`` for these centres."""


class Sums(Protocol):
    """Sums of the same rows for labels that change."""

    def step(self, labels: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Sums ``[k, d]``, weights ``[k]`` and how many labels changed."""

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What, with the labels, is needed to go on."""

    def restore(self, state: dict[str, NDArray[np.float64]], labels: NDArray[np.int32]) -> None:
        """Go on from a state."""


class Rows(Protocol):
    """What k-means asks of its rows, all ``[n, d]`` and finite."""

    dtype: np.dtype[Any]
    shape: tuple[int, int]
    #: The matrix itself.
    matrix: Any

    def take(self, numbers: Any) -> NDArray[Any]:
        """Some rows, dense."""

    def some(self, numbers: Any) -> Rows:
        """Some rows, as they are kept."""

    def nearest(self, k: int, backend: str, bounds: bool | None) -> Nearest:
        """Labels, again and again."""

    def sums(self, k: int, weights: NDArray[np.float64] | None) -> Sums:
        """Sums, again and again."""

    def moving(
        self, k: int, weights: NDArray[np.float64] | None, backend: str, bounds: bool | None
    ) -> tuple[Nearest, Sums]:
        """Labels and the sums for them, again and again."""

    def assign(self, centers: NDArray[Any], backend: str) -> tuple[NDArray[np.int32], NDArray[np.float64], str]:
        """Labels, squared distances and the backend, once."""

    def own(self, centers: NDArray[Any], labels: NDArray[np.int32]) -> NDArray[np.float64]:
        """Squared distances to the centres of the labels."""

    def few(self, others: NDArray[Any]) -> NDArray[np.float64]:
        """Squared distances ``[m, n]`` to a handful of dense rows."""

    def all(self, centers: NDArray[Any]) -> NDArray[Any]:
        """Distances ``[n, k]``, not squared."""

    def variance(self) -> float:
        """Mean variance of the columns."""

    def array(self, dtype: Any) -> NDArray[Any]:
        """One number a row, zeros."""

    def assigned(
        self, centers: NDArray[Any], backend: str
    ) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.float64]]]:
        """Labels and squared distances block by block, each with the number of its first row."""

    def inertia(self, centers: NDArray[Any], labels: NDArray[np.int32], weights: NDArray[np.float64] | None) -> float:
        """Weighted sum of squared distances to the centres of the labels."""

    def finish(
        self, nearest: Nearest, centers: NDArray[Any], weights: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int32], float]:
        """Labels for the last centres, to keep, and the inertia."""


class InMemory:
    """What rows in memory have in common."""

    def array(self: Rows, dtype: Any) -> NDArray[Any]:
        return np.zeros(self.shape[0], dtype)

    def moving(
        self: Rows, k: int, weights: NDArray[np.float64] | None, backend: str, bounds: bool | None
    ) -> tuple[Nearest, Sums]:
        return self.nearest(k, backend, bounds), self.sums(k, weights)

    def assigned(
        self: Rows, centers: NDArray[Any], backend: str
    ) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.float64]]]:
        labels, distances, _ = self.assign(centers, backend)
        yield 0, labels, distances

    def inertia(
        self: Rows, centers: NDArray[Any], labels: NDArray[np.int32], weights: NDArray[np.float64] | None
    ) -> float:
        distances = self.own(centers, labels)
        return total(chunk_sums(distances if weights is None else distances * weights))

    def finish(
        self: Rows, nearest: Nearest, centers: NDArray[Any], weights: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int32], float]:
        labels = nearest.step(centers).copy()
        return labels, self.inertia(centers, labels, weights)


def rows_of(matrix: Any) -> Rows:
    """Rows of a checked matrix."""
    return SparseRows(matrix) if hasattr(matrix, "tocsr") else DenseRows(matrix)


class DenseRows(InMemory):
    """Rows of an array, on our own kernels."""

    def __init__(self, matrix: NDArray[Any]) -> None:
        self.matrix = matrix
        self.dtype, self.shape = matrix.dtype, (matrix.shape[0], matrix.shape[1])

    def take(self, numbers: Any) -> NDArray[Any]:
        taken: NDArray[Any] = self.matrix[numbers]
        return taken

    def some(self, numbers: Any) -> DenseRows:
        return DenseRows(self.matrix[numbers])

    def blocks(self, step: str = "") -> Iterator[tuple[int, NDArray[Any]]]:
        """All rows, as one block."""
        del step
        yield 0, self.matrix

    def nearest(self, k: int, backend: str, bounds: bool | None) -> Nearest:
        return few_moving(self, k, backend, bounds) or MovingAssignment(self.matrix, k, backend=backend, bounds=bounds)

    def sums(self, k: int, weights: NDArray[np.float64] | None) -> Sums:
        return MovingSums(self.matrix, k, weights)

    def moving(
        self, k: int, weights: NDArray[np.float64] | None, backend: str, bounds: bool | None
    ) -> tuple[Nearest, Sums]:
        nearest = self.nearest(k, backend, bounds)
        return nearest, FewSums(nearest, weights) if isinstance(nearest, FewMoving) else self.sums(k, weights)

    def assign(self, centers: NDArray[Any], backend: str) -> tuple[NDArray[np.int32], NDArray[np.float64], str]:
        return assign(self.matrix, centers, backend=backend, check_finite=False)[:3]

    def own(self, centers: NDArray[Any], labels: NDArray[np.int32]) -> NDArray[np.float64]:
        return distances_to_own(self.matrix, centers, labels)

    def few(self, others: NDArray[Any]) -> NDArray[np.float64]:
        return distances_to_few(self.matrix, others)

    def all(self, centers: NDArray[Any]) -> NDArray[Any]:
        distances: NDArray[Any] = pairs(self.matrix, centers, np.eye(self.shape[1]))[0]
        return distances

    def variance(self) -> float:
        spread = Spread(self.shape[1])
        spread.add(self.matrix)
        return spread.variance()


class SparseRows(InMemory):
    """Rows of a CSR matrix, on SciPy's products, in float64: labels are decided by scores of that precision."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.dtype, self.shape = matrix.dtype, matrix.shape
        self._wide = matrix.astype(np.float64)
        self._squares = np.asarray(self._wide.multiply(self._wide).sum(axis=1)).reshape(-1)

    def take(self, numbers: Any) -> NDArray[Any]:
        taken: NDArray[Any] = np.asarray(self.matrix[numbers].toarray())
        return taken

    def some(self, numbers: Any) -> SparseRows:
        return SparseRows(self.matrix[numbers])

    def nearest(self, k: int, backend: str, bounds: bool | None) -> Nearest:
        del k
        return _SparseNearest(self, backend, bounds=bool(bounds))

    def sums(self, k: int, weights: NDArray[np.float64] | None) -> Sums:
        return _SparseSums(self._wide, k, weights)

    def assign(self, centers: NDArray[Any], backend: str) -> tuple[NDArray[np.int32], NDArray[np.float64], str]:
        if backend not in ("auto", "scipy"):
            raise BackendError(
                f"backend={backend!r} cannot run this: X is sparse. Allowed: auto, scipy; or X.toarray()."
            )
        n = self.shape[0]
        labels, distances = np.empty(n, np.int32), np.empty(n)
        exact = centers.astype(np.float64)
        half = 0.5 * np.einsum("ij,ij->i", exact, exact)
        step = max(1, _SCORES // len(centers))
        for start in range(0, n, step):
            scores = self._wide[start : start + step] @ exact.T - half
            best = scores.argmax(axis=1)
            labels[start : start + step] = best
            distances[start : start + step] = scores[np.arange(len(best)), best]
        return labels, np.maximum(self._squares - 2 * distances, 0.0), "scipy"

    def own(self, centers: NDArray[Any], labels: NDArray[np.int32]) -> NDArray[np.float64]:
        exact = centers.astype(np.float64)
        products = np.empty(self.shape[0])
        step = max(1, _SCORES // self.shape[1])
        for start in range(0, self.shape[0], step):
            block = self._wide[start : start + step]
            products[start : start + step] = np.asarray(
                block.multiply(exact[labels[start : start + step]]).sum(axis=1)
            ).reshape(-1)
        squared = self._squares - 2 * products + np.einsum("ij,ij->i", exact, exact)[labels]
        distances: NDArray[np.float64] = np.maximum(squared, 0.0)
        return distances

    def few(self, others: NDArray[Any]) -> NDArray[np.float64]:
        exact = others.astype(np.float64)
        squared = self._squares - 2 * np.asarray(self._wide @ exact.T).T + np.einsum("ij,ij->i", exact, exact)[:, None]
        nearest: NDArray[np.float64] = np.maximum(squared, 0.0)
        return nearest

    def all(self, centers: NDArray[Any]) -> NDArray[Any]:
        return np.sqrt(self.few(centers)).T.astype(self.dtype)

    def variance(self) -> float:
        mean = np.asarray(self._wide.mean(axis=0)).reshape(-1)
        return float((self._squares.sum() / self.shape[0] - (mean**2).sum()) / self.shape[1])


class _SparseNearest:
    def __init__(self, rows: SparseRows, backend: str, *, bounds: bool) -> None:
        self._rows, self._asked = rows, backend
        # Bounds are allowed to be of no use: labels are the same.
        self.backend, self.bounded = "scipy", bounds

    def step(self, centers: NDArray[Any]) -> NDArray[np.int32]:
        return self._rows.assign(centers, self._asked)[0]


class _SparseSums:
    def __init__(self, matrix: Any, k: int, weights: NDArray[np.float64] | None) -> None:
        self._matrix, self._k = matrix, k
        self._weights = np.ones(matrix.shape[0]) if weights is None else weights
        self._labels: NDArray[np.int32] | None = None

    def step(self, labels: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        from scipy.sparse import csr_array

        n = len(labels)
        members = csr_array((self._weights, (labels, np.arange(n))), shape=(self._k, n))
        changed = n if self._labels is None else int((labels != self._labels).sum())
        self._labels = labels
        weights = np.bincount(labels, self._weights, self._k).astype(np.float64)
        return (members @ self._matrix).toarray(), weights, changed

    def state(self) -> dict[str, NDArray[np.float64]]:
        return {}

    def restore(self, state: dict[str, NDArray[np.float64]], labels: NDArray[np.int32]) -> None:
        del state
        self._labels = labels
