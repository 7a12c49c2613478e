"""What is known of a few rows, told of all: labels spread along the neighbour graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastclust import progress
from fastclust.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from scipy.sparse import csr_matrix

    from fastclust.neighbors import NeighborGraph

__all__ = ["PropagatedLabels", "propagate_labels"]

#: The neighbour whose distance is the scale of a row, as Zelnik-Manor and Perona take it.
_SCALE = 7


class PropagatedLabels(NamedTuple):
    """Labels of all rows, and how sure they are."""

    #: int64 [n], -1 where the graph leads to no labelled row.
    labels: NDArray[np.int64]
    #: float32 [n], in [0, 1]: 1 where the label was given, 0 where there is none or two are equally near.
    confidence: NDArray[np.float32]


def propagate_labels(graph: NeighborGraph, labels: ArrayLike, *, n_neighbors: int = 15) -> PropagatedLabels:
    """Spread the labels of some rows to all rows that the graph leads to.

    The scores of a label are ``(I - 0.99 S)^-1 y``, with S the normalised affinity of the graph's nearest neighbours
    and y alike for all labels, however many rows have them (Zhou et al., "Learning with Local and Global Consistency",
    2003). The affinity of two neighbours is ``exp(-d^2 / (s s'))``, with s the distance of each to its seventh
    (Zelnik-Manor and Perona, "Self-Tuning Spectral Clustering", 2004). Time and memory grow with ``n * n_neighbors``.

    Parameters
    ----------
    graph
        Neighbours of the rows; distances, not inner products.
    labels
        Integers ``[n]``, -1 where unknown.
    n_neighbors
        Neighbours a row that are used; fewer where the graph holds fewer.

    Returns
    -------
    PropagatedLabels
        ``labels``, those given unchanged, and ``confidence``.

    Raises
    ------
    InputError, InputTypeError
        Labels of other rows or not integers, none that is known, a graph of inner products.
    """
    from fastclust.mining.spreading import spread_labels
    from fastclust.neighbors.affinity import normalised

    given = np.asarray(labels)
    if given.dtype.kind not in "iu":
        raise InputTypeError("labels", f"dtype {given.dtype}", "integers, -1 where unknown")
    if given.shape != (graph.n_rows,):
        raise InputError("labels", f"shape {given.shape}", f"({graph.n_rows},), one for each row of the graph")
    if not (given >= 0).any():
        raise InputError("labels", "no row with a label", "at least one that is not -1")
    if n_neighbors < 1:
        raise InputError("n_neighbors", n_neighbors, "at least 1")
    transition = normalised(_affinity(graph.head(min(n_neighbors, graph.n_neighbors))))
    found, confidence = spread_labels(
        transition, given.astype(np.int64), lambda share: progress.report("propagate", share, 1.0)
    )
    progress.report("propagate", 1, 1)
    return PropagatedLabels(found, confidence)


def _affinity(graph: NeighborGraph) -> csr_matrix:
    """Symmetric float64 CSR ``[n, n]`` in (0, 1] on the union of the edges."""
    from fastclust.neighbors.affinity import affinity

    if graph.metric == "inner_product":
        raise InputError("graph", "a graph of inner products", "distances: euclidean, cosine or mahalanobis")
    distances = np.maximum(np.asarray(graph.distances, np.float64), 0)
    if graph.metric == "cosine":
        distances = np.sqrt(2 * distances)  # the chord
    scale = distances[:, min(_SCALE, graph.n_neighbors) - 1]
    # Rows with seven copies have no scale of their own: the smallest there is.
    apart = scale[scale > 0]
    scale = np.maximum(scale, apart.min() if len(apart) else 1.0)
    known = graph.indices >= 0
    # Places without a neighbour point at the row itself, and the diagonal goes.
    indices = np.where(known, graph.indices, np.arange(graph.n_rows)[:, None])
    # Never quite 0: an edge that is long for both its ends still leads somewhere.
    weights = np.maximum(np.exp(-(distances**2) / (scale[:, None] * scale[indices])), 1e-12)
    return affinity(indices, weights, exponent=1.0, mutual=False)
