"""Within-class whitening: relevant component analysis, and with fewer components Fisher's discriminants, whitened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastclust.errors import InputError
from fastclust.metric.estimator import MahalanobisMetric, become
from fastclust.metric.labels import checked_rows_and_labels
from fastclust_kernels import mahalanobis as kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RCA"]


class RCA(MahalanobisMetric):
    """A metric in which the rows of a chunk, or class, scatter alike in all directions.

    The precision matrix is the inverse of the covariance around the chunks' means (Bar-Hillel et al., "Learning a
    Mahalanobis metric from equivalence constraints", JMLR 2005, equation 1). With ``n_components`` below d, the map
    keeps the directions in which the covariance of all rows exceeds that within chunks the most: linear discriminant
    analysis, whitened.

    Parameters
    ----------
    n_components
        Rows of ``components_``, from 1 to d; None keeps all.

    Attributes
    ----------
    components_, mean_, rank_, n_features_in_
        As of :class:`MahalanobisMetric`.
    """

    def __init__(self, n_components: int | None = None) -> None:
        self.n_components = n_components

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit to rows and their chunks or classes.

        Parameters
        ----------
        X
            ``[n, d]``.
        y
            Integers ``[n]``: rows with the same number are alike. -1 says nothing of a row.

        Raises
        ------
        InputError, InputTypeError
            No labels, wrong shapes, no chunk of two rows, a number of components that there cannot be.
        """
        rows, chunks = checked_rows_and_labels(X, y)
        told = chunks >= 0
        rows, chunks = rows[told], chunks[told]
        within = _within(rows, chunks)
        d = rows.shape[1]
        if self.n_components is not None and not 1 <= self.n_components <= d:
            raise InputError("n_components", repr(self.n_components), f"None, or 1 to {d}")
        if self.n_components is None or self.n_components == d:
            return become(self, kernels.factor_of_covariance(within), rows.mean(axis=0))
        return become(self, _discriminants(rows, within, self.n_components), rows.mean(axis=0))


def _within(rows: NDArray[np.float64], chunks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Covariance around the means of the chunks, over the number of rows: ``[d, d]``."""
    _, own, counts = np.unique(chunks, return_inverse=True, return_counts=True)
    if not len(rows) or counts.max() < 2:
        raise InputError("y", "no two rows with the same number of 0 or more", "at least one chunk of two rows")
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, own, rows)
    moved = rows - (sums / counts[:, None])[own]
    covariance: NDArray[np.float64] = moved.T @ moved / len(rows)
    return covariance


def _discriminants(rows: NDArray[np.float64], within: NDArray[np.float64], wanted: int) -> NDArray[np.float64]:
    """Directions ``[d, wanted]`` of largest variance after whitening by ``within``."""
    factor = kernels.factor_of_covariance(within)
    if wanted > factor.shape[1]:
        raise InputError("n_components", str(wanted), f"at most {factor.shape[1]}, the rank of the scatter in chunks")
    moved = (rows - rows.mean(axis=0)) @ factor
    _, vectors = np.linalg.eigh(moved.T @ moved)
    chosen: NDArray[np.float64] = factor @ vectors[:, ::-1][:, :wanted]
    return chosen
