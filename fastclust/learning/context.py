"""What the whole data set knows about a batch: its graph, and similarity along it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.cluster.spectral import leading
from fastclust.learning.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Context", "dataset_context", "propagate"]

#: Damping of the diffusion, as in mining.
_ALPHA = 0.99
#: Steps that labels are spread over.
_SPREAD = 300


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
    spread = None if labels is None else propagate(transition, labels)
    return Context(graph.indices, coordinates.astype(np.float32), spread)


def propagate(transition: Any, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Spread known labels along the graph: return a label (int64) and a confidence in [0, 1] (float32) of each row.

    ``transition`` is the normalised affinity, ``labels`` ``[n]`` with -1 where unknown; those known stay, with
    confidence 1. Rows that no known row reaches get -1 and 0. Each label counts alike, however many rows have it.
    Source: Zhou, Bousquet, Lal, Weston, Schoelkopf, "Learning with Local and Global Consistency", NIPS 2003; the
    confidence is the margin between the two best scores over their sum.
    """
    names, places = np.unique(labels[labels >= 0], return_inverse=True)
    known = np.flatnonzero(labels >= 0)
    start = np.zeros((len(labels), len(names)))
    start[known, places] = 1 / np.bincount(places)[places]
    scores = start.copy()
    for _ in range(_SPREAD):
        scores = _ALPHA * (transition @ scores) + start
    best = scores.argmax(1)
    two = np.partition(scores, -2, axis=1)[:, -2:]
    sums = two.sum(1)
    reached = sums > 0
    confidence = np.where(reached, (two[:, 1] - two[:, 0]) / np.where(reached, sums, 1), 0)
    found = np.where(reached, names[best], -1)
    found[known], confidence[known] = labels[known], 1
    return found, confidence.astype(np.float32)
