"""Which rows of a graph stand for the rest of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

__all__ = ["degree_maxima"]


def degree_maxima(matrix: csr_matrix, most: int) -> NDArray[np.int64]:
    """Return rows of the largest component whose degree is above that of all their neighbours; ``most`` of them.

    The stationary distribution of a random walk on a connected symmetric graph is degree / sum of degrees, so these
    are its strict local maxima. Highest degree kept, returned in ascending order of rows.
    """
    from scipy.sparse.csgraph import connected_components

    _, component = connected_components(matrix, directed=False)
    largest = np.bincount(component).argmax()
    degree = np.asarray(matrix.sum(axis=1)).ravel()
    filled = np.diff(matrix.indptr) > 0
    beside = np.zeros(len(degree))
    beside[filled] = np.maximum.reduceat(degree[matrix.indices], matrix.indptr[:-1][filled])
    peaks = np.flatnonzero(filled & (component == largest) & (degree > beside))
    best = peaks[np.argsort(-degree[peaks], kind="stable")[:most]]
    return np.sort(best).astype(np.int64)
