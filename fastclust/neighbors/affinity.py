"""The affinity matrix of a neighbour graph: what diffusion and spectral embedding work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from fastclust.neighbors.graph import NeighborGraph

__all__ = ["affinity", "normalised", "to_cosine"]


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


def to_cosine(graph: NeighborGraph) -> Callable[[Any], NDArray[np.float64]]:
    """Return the function that turns the graph's distances into cosines.

    Raises InputError unless the metric is "cosine", or "euclidean" over rows of length 1.
    """
    if graph.metric == "cosine":
        return lambda distances: 1 - np.asarray(distances, np.float64)
    if graph.metric != "euclidean":
        raise InputError("graph", f"a graph of metric {graph.metric!r}", '"cosine", or "euclidean" of unit rows')
    if graph.source is not None:
        lengths = np.linalg.norm(np.asarray(graph.source, np.float64), axis=1)
        if not np.allclose(lengths, 1, atol=1e-3):
            raise InputError(
                "graph",
                f"a euclidean graph of rows of length {lengths.min():.3g}..{lengths.max():.3g}",
                "rows of length 1",
                'Build the graph with metric="cosine".',
            )
    elif np.max(graph.distances, initial=0.0) > 2.001:
        raise InputError("graph", f"a distance of {np.max(graph.distances):.3g}", "at most 2, as of unit rows")
    return lambda distances: 1 - np.asarray(distances, np.float64) ** 2 / 2
