"""Groups of rows that are nearly the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastclust.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.neighbors import NeighborGraph

__all__ = ["default_threshold", "near_duplicates"]

#: Nearest-neighbour distances below this share of their median are of another kind than the rest.
_SHARE = 0.1


def default_threshold(graph: NeighborGraph) -> float:
    """Return a tenth of the median distance to the nearest neighbour.

    The evidence is the distances themselves: rows of a continuous distribution in more than a few dimensions have
    nearest neighbours at nearly one distance, and pairs ten times nearer than that are copies, crops or bursts.
    """
    return float(_SHARE * np.median(graph.distances[:, 0]))


def near_duplicates(graph: NeighborGraph, threshold: float | None = None) -> list[NDArray[np.int64]]:
    """Find groups of rows joined by distances of at most ``threshold``, each to at least one other of its group.

    Parameters
    ----------
    graph
        Neighbours of the rows.
    threshold
        In the graph's metric; None takes :func:`default_threshold`.

    Returns
    -------
    list of int64 arrays
        Row numbers of each group in rising order; larger groups first.

    Raises
    ------
    InputError
        A threshold that is negative or not a number.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    limit = default_threshold(graph) if threshold is None else float(threshold)
    if not limit >= 0:
        raise InputError("threshold", limit, "a distance of at least 0")
    rows, places = np.nonzero(graph.distances <= limit)
    columns = graph.indices[rows, places]
    n = graph.n_rows
    _, label = connected_components(
        coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(n, n)), directed=False
    )
    members = np.flatnonzero(np.bincount(label)[label] > 1)
    order = members[np.lexsort((members, label[members]))]
    groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if len(order) else []
    return sorted(groups, key=lambda group: (-len(group), int(group[0])))
