"""Principal components of rows that come in blocks: what a map of wide rows begins with.

Up to 1024 columns the covariance is summed block by block and its eigenvectors are taken. Beyond, subspace iteration
from random directions needs a few passes and no matrix of columns by columns (Halko, Martinsson and Tropp, 2011,
sections 4.5 and 5.3). The bits do not depend on the number of threads: each product is one thread's, and sums have one
order.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.errors import InputError
from fastclust_kernels import checks
from fastclust_kernels.dispatch import one_blas_thread, threads_given

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fastclust.data import RowSource

__all__ = ["Components", "components_wanted", "principal_components"]

#: Rows of a block, and blocks that are worked on at once: 12 MB of 784 columns each.
_ROWS = 4096
_TOGETHER = 8
#: Columns up to which the whole covariance is the quicker way.
_COVARIANCE = 1024
#: Directions beyond those wanted, and passes over the rows that turn them towards the components.
_MORE, _PASSES = 10, 5


#: Rows and columns beyond which neighbours are looked for among so many components, unless told otherwise: below, their
#: search is quick anyway.
_MANY_ROWS, _MANY_COLUMNS, _USUAL = 10_000, 100, 50


def components_wanted(asked: int | str | None, metric: Any, shape: tuple[int, int]) -> int | None:
    """Return how many components rows of this shape are mapped to; None for rows as they are. Raises InputError."""
    n, d = shape
    if asked == "auto":
        wide = n > _MANY_ROWS and d > _MANY_COLUMNS and isinstance(metric, str) and metric == "euclidean"
        return _USUAL if wide else None
    if asked is not None and int(asked) > min(n, d):
        raise InputError("pca_components", asked, f"1..{min(n, d)}, the smaller of rows and columns")
    return None if asked is None else int(asked)


class Components(NamedTuple):
    """A centre and orthonormal axes."""

    #: float64 [d] and [d, k]
    mean: NDArray[np.float64]
    axes: NDArray[np.float64]

    def project(self, source: RowSource) -> NDArray[np.float32]:
        """Scores ``[n, k]``."""
        scores = np.empty((source.shape[0], self.axes.shape[1]), np.float32)
        place = 0

        def one(block: NDArray[Any]) -> NDArray[Any]:
            moved: NDArray[Any] = (block - self.mean.astype(block.dtype)) @ self.axes.astype(block.dtype)
            return moved

        for found in _over(source, one):
            scores[place : place + len(found)] = found
            place += len(found)
        return scores


def principal_components(source: RowSource, count: int, seed: int | None = None) -> Components:
    """Find the ``count`` first principal components of the rows ``[n, d]``, at most d.

    The sign is not determined: the largest entry of each is made positive. Raises InputError, InputTypeError for rows
    that are not finite numbers.
    """
    n, d = source.shape
    count = min(count, d)
    total = np.zeros(d)
    for part in _over(source, lambda block: block.sum(axis=0, dtype=np.float64)):
        total += part
    mean = total / n
    axes = _by_covariance(source, mean, count) if d <= _COVARIANCE else _by_directions(source, mean, count, seed)
    largest = np.abs(axes).argmax(axis=0)
    return Components(mean, axes * np.where(axes[largest, np.arange(count)] < 0, -1.0, 1.0))


def _by_covariance(source: RowSource, mean: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    from scipy.linalg import eigh

    d = len(mean)
    covariance = np.zeros((d, d))

    def one(block: NDArray[Any]) -> NDArray[Any]:
        moved = block - mean.astype(block.dtype)
        product: NDArray[Any] = moved.T @ moved
        return product

    for part in _over(source, one):
        covariance += part
    with one_blas_thread():
        _, vectors = eigh(covariance, subset_by_index=(d - count, d - 1))
    axes: NDArray[np.float64] = vectors[:, ::-1]
    return axes


def _by_directions(source: RowSource, mean: NDArray[np.float64], count: int, seed: int | None) -> NDArray[np.float64]:
    d = len(mean)
    width = min(count + _MORE, d)
    axes = np.linalg.qr(np.random.default_rng(seed or 0).normal(size=(d, width)))[0]
    for _ in range(_PASSES):

        def one(block: NDArray[Any], axes: NDArray[np.float64] = axes) -> NDArray[Any]:
            moved = block - mean.astype(block.dtype)
            product: NDArray[Any] = moved.T @ (moved @ axes.astype(block.dtype))
            return product

        turned = np.zeros((d, width))
        for part in _over(source, one):
            turned += part
        with one_blas_thread():
            # Of the covariance in the space of the last directions; the new ones are turned likewise.
            _, rotation = np.linalg.eigh(axes.T @ turned)
            axes = np.linalg.qr(turned @ rotation[:, ::-1])[0]
    return axes[:, :count]


def _over(source: RowSource, work: Callable[[NDArray[Any]], NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Results of all blocks, in order; a few blocks at a time, each by one thread."""

    def checked(block: NDArray[Any]) -> NDArray[Any]:
        return work(checks.check_matrix(block, "X"))

    with ThreadPoolExecutor(threads_given()) as pool, one_blas_thread():
        waiting: list[NDArray[Any]] = []
        for block in source.blocks(_ROWS):
            waiting.append(block)
            if len(waiting) == _TOGETHER:
                yield from pool.map(checked, waiting)
                waiting = []
        yield from pool.map(checked, waiting)
