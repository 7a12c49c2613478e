"""Neighbours by cosine, out of a graph or out of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError, InputTypeError
from fastclust.neighbors.affinity import to_cosine

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastclust.neighbors import NeighborGraph

__all__ = ["Neighbourhood"]


class Neighbourhood:
    """The graph that mining walks on, and the wider lists of its anchors.

    Parameters
    ----------
    graph_or_X
        As :func:`fastclust.mine_manifold` takes it.
    n_neighbors
        Width of the graph.
    wide
        Width of the lists that :meth:`search` will be asked for.
    every
        Whether all of so many rows will be searched: their graph is then made as wide, in one search.
    """

    def __init__(
        self,
        graph_or_X: NeighborGraph | NDArray[Any],
        n_neighbors: int,
        wide: int,
        every: Callable[[int], bool],
    ) -> None:
        from fastclust.neighbors import NeighborGraph, knn_graph

        if isinstance(graph_or_X, NeighborGraph):
            graph = graph_or_X
            rows = graph.n_rows
        else:
            X = _rows(graph_or_X)
            rows = len(X)
        for name, k in (("n_neighbors", n_neighbors), ("k_positive or k_negative", wide)):
            if k >= rows:
                raise InputError(name, k, f"1..{rows - 1}, one less than the number of rows")
        if not isinstance(graph_or_X, NeighborGraph):
            graph = knn_graph(X, n_neighbors=max(n_neighbors, wide) if every(rows) else n_neighbors, metric="cosine")
        if graph.n_neighbors < n_neighbors:
            raise InputError("graph_or_X", f"a graph of {graph.n_neighbors} neighbours", f"at least {n_neighbors}")
        if wide > graph.n_neighbors and graph.source is None:
            raise InputError(
                "graph_or_X",
                f"a graph of {graph.n_neighbors} neighbours without its rows",
                f"a graph of {wide} neighbours, or one that keeps its rows",
                "Build it with knn_graph(X, ...), or lower k_positive and k_negative.",
            )
        self.n_rows = rows
        self._graph = graph
        self._unit = to_cosine(graph)
        self.indices: NDArray[np.int64] = graph.indices[:, :n_neighbors]
        self.cosines = self._unit(graph.distances[:, :n_neighbors])

    def search(self, anchors: NDArray[np.int64], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the ``k`` nearest rows of each anchor and their cosines; the anchor itself may be among ``k + 1``."""
        from fastclust.neighbors import NeighborIndex

        graph = self._graph
        if graph.n_neighbors >= k:
            return graph.indices[anchors, :k], self._unit(graph.distances[anchors, :k])
        X = graph.source
        assert X is not None  # checked in __init__
        index = NeighborIndex(metric=graph.metric).fit(X)
        distances, indices = index.kneighbors(X[anchors], n_neighbors=k + 1)
        return indices.astype(np.int64, copy=False), self._unit(distances)


def _rows(X: Any) -> NDArray[Any]:
    rows = np.asarray(X)
    if rows.ndim != 2 or 0 in rows.shape:
        raise InputError("graph_or_X", f"shape {rows.shape}", "rows [n, d], neither empty, or a NeighborGraph")
    if rows.dtype.kind not in "fiu":
        raise InputTypeError("graph_or_X", str(rows.dtype), "a real numeric dtype")
    if not np.isfinite(rows).all():
        raise InputError("graph_or_X", "NaN or infinity", "finite numbers", "Remove or impute those rows.")
    return rows
