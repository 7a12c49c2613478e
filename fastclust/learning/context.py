"""What the whole data set knows about a batch: its graph, and similarity along it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastclust.cluster.spectral import leading
from fastclust.learning.threads import one_thread
from fastclust.mining.spreading import spread_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Context", "dataset_context"]

#: Damping of the diffusion, as in mining.
_ALPHA = 0.99


class Context(NamedTuple):
    """The neighbour graph of all rows, and coordinates whose cosines are similarities along it."""

    #: int64 [n, k], nearest first, self left out.
    neighbors: NDArray[np.int64]
    #: float32 [n, m], of length 1; rows of zeros where the coordinates say nothing.
    coordinates: NDArray[np.float32]
    #: Labels spread along the graph (int64 [n], -1 where none came) and their confidence (float32 [n]), or None.
    spread: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None


def dataset_context(
    rows: NDArray[np.float32],
    *,
    n_neighbors: int,
    n_coordinates: int,
    seed: int,
    tick: Callable[[], None],
    labels: NDArray[np.int64] | None = None,
) -> Context:
    """Build the graph of ``rows`` ``[n, d]`` (compared by direction) and its diffusion coordinates.

    The affinity is cosine^3 on the union of the kNN edges, S its symmetric normalisation. (I - alpha S)^-1 is the
    manifold similarity of Iscen et al. (CVPR 2018); the coordinates are its leading eigenvectors, weighted so that
    inner products give its best approximation of that rank, then brought to length 1. ``tick`` is called often.

    ``labels`` ``[n]``, -1 where unknown, are spread along the graph.
    """
    from fastclust.neighbors import knn_graph
    from fastclust.neighbors.affinity import affinity, normalised

    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(lengths > 0, lengths, 1)
    graph = knn_graph(unit, n_neighbors=min(n_neighbors, len(rows) - 1), metric="euclidean")
    cosines = 1 - np.asarray(graph.distances, np.float64) ** 2 / 2
    tick()
    transition = normalised(affinity(graph.indices, cosines, exponent=3.0, mutual=False))
    with one_thread():
        # What does not converge soon is left out; the rest of the similarity comes from the batch.
        values, vectors = leading(transition, min(n_coordinates, len(rows) - 1), seed=seed, tick=tick, restarts=60)
    coordinates = vectors / np.sqrt(1 - _ALPHA * np.minimum(values, 1.0))
    norms = np.linalg.norm(coordinates, axis=1, keepdims=True)
    # A row in a component that no kept eigenvector touches has only rounding errors for coordinates.
    told = norms > 1e-6 / np.sqrt(len(rows))
    coordinates = np.where(told, coordinates / np.where(told, norms, 1), 0)
    spread = None if labels is None else spread_labels(transition, labels)
    return Context(graph.indices, coordinates.astype(np.float32), spread)
