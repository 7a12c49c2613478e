"""What the whole data set knows about a batch: its graph, and similarity along it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.learning.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Context", "dataset_context"]

#: Damping of the diffusion, as in mining.
_ALPHA = 0.99
#: Below this many rows for each wanted eigenvector, the dense solver is both faster and safer.
_DENSE = 512


class Context(NamedTuple):
    """The neighbour graph of all rows, and coordinates whose cosines are similarities along it."""

    #: int64 [n, k], nearest first, self left out.
    neighbors: NDArray[np.int64]
    #: float32 [n, m], of length 1; rows of zeros where the coordinates say nothing.
    coordinates: NDArray[np.float32]


def dataset_context(
    rows: NDArray[np.float32], *, n_neighbors: int, n_coordinates: int, seed: int, tick: Callable[[], None]
) -> Context:
    """Build the graph of ``rows`` ``[n, d]`` (compared by direction) and its diffusion coordinates.

    The affinity is cosine^3 on the union of the kNN edges, S its symmetric normalisation. (I - alpha S)^-1 is the
    manifold similarity of Iscen et al. (CVPR 2018); the coordinates are its leading eigenvectors, weighted so that
    inner products give its best approximation of that rank, then brought to length 1. ``tick`` is called often.
    """
    from fastclust.mining import affinity, normalised
    from fastclust.neighbors import knn_graph

    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(lengths > 0, lengths, 1)
    graph = knn_graph(unit, n_neighbors=min(n_neighbors, len(rows) - 1), metric="euclidean")
    cosines = 1 - np.asarray(graph.distances, np.float64) ** 2 / 2
    tick()
    transition = normalised(affinity(graph.indices, cosines, exponent=3.0, mutual=False))
    with one_thread():
        values, vectors = _leading(transition, min(n_coordinates, len(rows) - 1), seed, tick)
    coordinates = vectors / np.sqrt(1 - _ALPHA * np.minimum(values, 1.0))
    norms = np.linalg.norm(coordinates, axis=1, keepdims=True)
    # A row in a component that no kept eigenvector touches has only rounding errors for coordinates.
    told = norms > 1e-6 / np.sqrt(len(rows))
    coordinates = np.where(told, coordinates / np.where(told, norms, 1), 0)
    return Context(graph.indices, coordinates.astype(np.float32))


def _leading(
    matrix: Any, count: int, seed: int, tick: Callable[[], None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the largest ``count`` eigenvalues of a symmetric matrix, and their vectors; those that converged."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    n = matrix.shape[0]
    if n <= _DENSE:
        values, vectors = np.linalg.eigh(matrix.toarray())
        return values[-count:], vectors[:, -count:]

    def multiply(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        tick()
        product: NDArray[np.float64] = matrix @ vector
        return product

    operator = LinearOperator((n, n), matvec=multiply, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(n)
    try:
        values, vectors = eigsh(operator, k=count, which="LA", v0=start, tol=1e-4, ncv=3 * count, maxiter=60)
    except ArpackNoConvergence as error:
        # What converged is exact enough; the rest of the similarity comes from the batch.
        values, vectors = error.eigenvalues, error.eigenvectors
    return values, vectors
