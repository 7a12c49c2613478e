"""The affinity matrix of a neighbour graph, and who stands for the rest of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

__all__ = ["affinity", "degree_maxima", "normalised"]


def affinity(indices: NDArray[np.int64], cosines: NDArray[np.float64], *, exponent: float, mutual: bool) -> csr_matrix:
    """Return max(cosine, 0)^exponent on the edges of a kNN graph, symmetric float64 CSR ``[n, n]``, zero diagonal.

    ``indices`` and ``cosines`` are ``[n, k]``. ``mutual`` keeps the pairs that name each other, and otherwise the
    pairs of which one names the other.
    """
    from scipy.sparse import csr_matrix

    rows, k = indices.shape
    values = np.maximum(cosines, 0.0) ** exponent
    indptr = np.arange(0, rows * k + 1, k)
    one_way = csr_matrix((values.ravel(), indices.ravel(), indptr), shape=(rows, rows))
    one_way.sort_indices()
    # The two cosines of a pair may differ in the last bit; either choice is symmetric.
    joined = one_way.minimum(one_way.T) if mutual else one_way.maximum(one_way.T)
    joined = joined.tocsr()
    joined.setdiag(0)
    joined.eliminate_zeros()
    return joined


def normalised(matrix: csr_matrix) -> csr_matrix:
    """Return D^-1/2 A D^-1/2; rows without edges stay empty."""
    from scipy.sparse import diags

    degree = np.asarray(matrix.sum(axis=1)).ravel()
    scale = np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0)
    return (diags(scale) @ matrix @ diags(scale)).tocsr()


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
