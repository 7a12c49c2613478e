"""Leading eigenvectors of a large graph's affinity: found where few rows are left, mended where all are.

Lanczos multiplies one vector at a time, hundreds of times; here a block of vectors starts near its end. Rows are
joined with the neighbour that holds them most (a step of Boruvka's) until few are left, whose eigenvectors are known
densely; each finer graph takes them over and mends them.

Source: J. Urschel, X. Hu, J. Xu, L. Zikatanov, "A Cascadic Multigrid Algorithm for Computing the Fiedler Vector of
Graph Laplacians", J. Comp. Math. 2015.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import eigh

from fastclust.cluster.subspace import Part, filtered
from fastclust.errors import PreconditionError
from fastclust_kernels.dispatch import one_blas_thread, threads_given

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["leading_by_levels"]

#: Graphs of so many rows are solved densely: or of four for each vector, but not of more than the second.
_COARSE, _MOST = 2000, 6000
#: Vectors beside the wanted ones: the last wanted one converges as fast as the last of these is away from it.
_BESIDE = 10
#: Length of what is added to a vector of length 1 on each level: eigenvectors that coarse graphs cannot hold, as those
#: of a part that has become one row, would never be found without; joining rows is as far off by itself.
_NOISE = 0.1
#: Length of S v - lambda v, at most, of every wanted v, or else an error. Filters on a level, at most.
_RESIDUAL, _ROUNDS = 1e-4, 60
#: Strengths of a row's neighbours that differ by less than this count as equal, and one of these is drawn.
_TIE = 1e-9


class _Level(NamedTuple):
    """A graph whose rows are joined rows of a finer one."""

    graph: sparse.csr_matrix
    #: float64 [n]: sums of affinities of the finest graph's rows.
    degree: NDArray[np.float64]
    #: int32 [n]: connected components.
    component: NDArray[np.int32]

    def permuted(self, order: NDArray[np.int64]) -> _Level:
        """Return the same graph with row ``order[i]`` in place ``i``."""
        return _Level(self.graph[order][:, order].tocsr(), self.degree[order], self.component[order])


def leading_by_levels(
    graph: sparse.csr_matrix,
    component: NDArray[np.int32],
    wanted: int,
    *,
    seed: int,
    tick: Callable[[], None],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ``wanted`` largest eigenvalues of D^-1/2 A D^-1/2 beside one of value 1 for each component.

    ``graph`` is A ``[n, n]``, symmetric, without entries below 0 and empty rows, and ``component`` ``[n]`` its
    connected components. Values descend; vectors are float64 ``[n, wanted]``. The bits are the same whatever the
    threads. ``tick`` is called at each product. Raises PreconditionError where a residual stays above 1e-4.
    """
    levels = [_Level(graph, np.asarray(graph.sum(axis=1)).ravel(), component)]
    joins: list[NDArray[np.int32]] = []
    width = wanted + _BESIDE
    coarse = min(max(_COARSE, 4 * width), _MOST)
    known = int(component.max()) + 1
    while len(levels[-1].degree) > coarse:
        tick()
        count, joined = _joined(levels[-1], seed)
        # What is left beside the components' own vectors must hold the block.
        if count < known + 2 * width:
            break
        joins.append(joined)
        levels.append(_coarser(levels[-1], joined))
    order = _neighbourly(joins, len(component))
    levels[0], joins[:1] = levels[0].permuted(order), [joined[order] for joined in joins[:1]]
    with ThreadPoolExecutor(threads_given()) as pool, one_blas_thread():
        coarsest = levels.pop()
        first = _start(Part(*coarsest, pool, tick), width, coarse, seed)
        heights = (first / np.sqrt(coarsest.degree)[:, None]).astype(np.float32)
        if not levels:
            levels, joins = [coarsest], [np.arange(len(coarsest.degree), dtype=np.int32)]
        while levels:
            level, joined = levels.pop(), joins.pop()
            roots = np.sqrt(level.degree).astype(np.float32)[:, None]
            start = heights[joined] * roots
            start += _noise(len(start), width, seed)
            pairs = filtered(Part(*level, pool, tick), start, wanted, _RESIDUAL * (10 if levels else 1), _ROUNDS)
            if levels:
                heights = pairs.vectors / roots
    if (worst := pairs.residuals[:wanted].max()) > _RESIDUAL:
        raise PreconditionError(
            f"the {wanted} leading eigenvectors of {graph.shape[0]} rows did not converge: |S v - lambda v| = "
            f"{worst:.2g} after {_ROUNDS} filters (at most {_RESIDUAL:g} is wanted)"
        )
    vectors = np.empty((len(order), wanted))
    vectors[order] = pairs.vectors[:, :wanted]
    return pairs.values[:wanted], vectors


def _noise(n: int, width: int, seed: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal((n, width), np.float32)
    drawn *= np.float32(_NOISE / np.sqrt(n))
    return drawn


def _joined(level: _Level, seed: int) -> tuple[int, NDArray[np.int32]]:
    """Return how many rows there are when each is one with its strongest neighbour, and which: int32 ``[n]``.

    A row's strongest neighbour is the one with the largest affinity for its degree. Of equal ones one is drawn: the
    first ones would make chains of all rows of a regular graph.
    """
    graph, degree = level.graph, level.degree
    n = len(degree)
    strength = graph.data / degree[graph.indices]
    row = np.repeat(np.arange(n, dtype=np.int32), np.diff(graph.indptr))
    strength *= 1 + _TIE * np.random.default_rng(seed).random(len(strength))
    strength[graph.indices == row] = 0
    best = np.maximum.reduceat(strength, graph.indptr[:-1])
    candidates = np.flatnonzero(strength == best[row])
    rows, first = np.unique(row[candidates], return_index=True)
    edges = sparse.csr_matrix((np.ones(n, np.int8), (rows, graph.indices[candidates[first]])), shape=(n, n))
    count, joined = sparse.csgraph.connected_components(edges, directed=False)
    return count, joined


def _neighbourly(joins: list[NDArray[np.int32]], n: int) -> NDArray[np.int64]:
    """Return an order of the rows in which joined ones stand together: products with the graph are 3x as quick."""
    keys: list[NDArray[Any]] = [np.arange(n)]
    for joined in joins:
        keys.append(joined[keys[-1]])
    return np.lexsort(keys)


def _coarser(level: _Level, joined: NDArray[np.int32]) -> _Level:
    n, count = len(joined), int(joined.max()) + 1
    members = sparse.csr_matrix((np.ones(n), joined, np.arange(n + 1)), shape=(n, count))
    component = np.empty(count, np.int32)
    component[joined] = level.component
    graph = (members.T @ level.graph @ members).tocsr()
    degree: NDArray[np.float64] = np.bincount(joined, level.degree, count).astype(np.float64)
    return _Level(graph, degree, component)


def _start(part: Part, width: int, dense: int, seed: int) -> NDArray[np.float64]:
    """Eigenvectors of the coarsest graph, ``[n, width]``; a random block where it has more than ``dense`` rows."""
    n = len(part)
    part.tick()
    if n > dense:
        return np.random.default_rng(seed).standard_normal((n, width))
    _, vectors = eigh(part.dense(), subset_by_index=(max(0, n - width), n - 1))
    found: NDArray[np.float64] = vectors[:, ::-1]
    return found
