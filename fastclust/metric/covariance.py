"""Covariances of rows, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.data.limits import block_rows, memory_of
from fastclust.errors import InputError
from fastclust_kernels import checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.data import RowSource

__all__ = ["empirical", "of_source"]


def empirical(rows: NDArray[np.float64], ddof: int) -> NDArray[np.float64]:
    """Sum of squares and products over ``n - ddof``: ``[d, d]``. Raises InputError for fewer rows than that takes."""
    if len(rows) <= ddof:
        raise InputError("X", f"{len(rows)} rows", f"at least {ddof + 1} rows to estimate a covariance from")
    moved = rows - rows.mean(axis=0)
    covariance: NDArray[np.float64] = moved.T @ moved / (len(rows) - ddof)
    return covariance


def of_source(source: RowSource, *, shrunk: bool) -> tuple[NDArray[np.float64], NDArray[np.float64], float | None]:
    """Covariance ``[d, d]``, mean ``[d]`` and shrinkage of rows that are read twice, in blocks.

    The covariance is that of :func:`empirical` with ``ddof=1`` or, ``shrunk``, that of Ledoit and Wolf, "A
    well-conditioned estimator for large-dimensional covariance matrices", 2004, lemmas 3.2 to 3.4 there.

    Raises InputError, InputTypeError for too few rows and for what is no finite number.
    """
    n, d = source.shape
    if n <= 1:
        raise InputError("X", f"{n} row", "at least 2 rows to estimate a covariance from")
    # Blocks are worked on in float64, and moved and squared beside that.
    block = block_rows(memory_of(source) // 2, 8 * d)
    total = np.zeros(d)
    for rows in _blocks(source, block, 0.0):
        total += rows.sum(axis=0)
    mean = total / n
    products, fourth = np.zeros((d, d)), 0.0
    for rows in _blocks(source, block, 0.5):
        moved = rows - mean
        products += moved.T @ moved
        if shrunk:
            fourth += float((np.einsum("ij,ij->i", moved, moved) ** 2).sum())
    if not shrunk:
        return products / (n - 1), mean, None
    covariance = products / n
    level = float(np.trace(covariance)) / d
    squares = float((covariance**2).sum())
    apart = (squares - 2 * level * float(np.trace(covariance)) + d * level**2) / d
    error = min((fourth / n - squares) / (n * d), apart)
    shrinkage = 0.0 if error <= 0 or apart <= 0 else error / apart
    covariance *= 1 - shrinkage
    covariance[np.diag_indices(d)] += shrinkage * level
    return covariance, mean, shrinkage


def _blocks(source: RowSource, block: int, share: float) -> Any:
    done = 0
    for rows in source.blocks(block):
        yield checks.check_matrix(rows, "X").astype(np.float64)
        done += len(rows)
        progress.report("metric", share + 0.5 * done / len(source), 1.0, f"{done} of {len(source)} rows")
