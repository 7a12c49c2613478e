"""Groups of rows that are nearly the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastclust.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.neighbors import NeighborGraph

__all__ = ["DuplicateEvidence", "default_threshold", "duplicate_evidence", "near_duplicates"]

#: Pairs ten times nearer than the usual nearest neighbour are of another kind than the rest.
_LARGEST_SHARE = 0.1
#: Rows of a whole data set that may have such a neighbour by chance.
_BY_CHANCE = 0.1


@dataclass(frozen=True, slots=True)
class DuplicateEvidence:
    """Why two rows count as near-duplicates: what a graph's nearest distances look like."""

    #: Largest distance of a pair, in the graph's metric.
    threshold: float
    #: Median distance to the nearest neighbour, in the graph's metric.
    median: float
    #: Intrinsic dimension of the rows; infinite where distances tie, NaN where the graph holds one neighbour a row.
    dimension: float
    #: Rows expected to have a neighbour within ``threshold`` by chance, were the density even.
    by_chance: float


def duplicate_evidence(graph: NeighborGraph) -> DuplicateEvidence:
    """Choose a threshold for near-duplicates from the distances to the first two neighbours.

    Where the density is even, the distance r to the nearest neighbour follows ``P(r < t) = 1 - 2^-((t / m)^d)``, with
    its median m and the intrinsic dimension d; d comes from the median of r2 / r1, which is ``2^(1/d)`` (Facco et al.,
    "Estimating the intrinsic dimension of datasets by a minimal neighborhood information", 2017) and which copies of
    fewer than half of the rows do not move much. The threshold is the distance below which a tenth of a row is
    expected by chance, and at most a tenth of the median. Cosine distances are taken as the chords they stand for.

    Raises
    ------
    InputError
        A graph of inner products, which are no distances.
    """
    if graph.metric == "inner_product":
        raise InputError("graph", "a graph of inner products", "distances: euclidean, cosine or mahalanobis")
    cosine = graph.metric == "cosine"
    # [n, 1 or 2]; a rounding error below 0 is 0.
    near = np.maximum(np.asarray(graph.distances[:, :2], np.float64), 0)
    near = np.sqrt(2 * near) if cosine else near
    median = float(np.median(near[:, 0]))
    dimension, share = np.nan, _LARGEST_SHARE
    apart = near[:, 0] > 0
    if near.shape[1] == 2 and apart.any():
        ratio = float(np.median(near[apart, 1] / near[apart, 0]))
        dimension = np.log(2) / np.log(ratio) if ratio > 1 else np.inf
        share = min(share, float((_BY_CHANCE / len(near) / np.log(2)) ** (1 / dimension)))
    chance = np.nan if np.isnan(dimension) else len(near) * -np.expm1(-np.log(2) * share**dimension)
    threshold = share * median
    if cosine:
        threshold, median = threshold**2 / 2, median**2 / 2
    return DuplicateEvidence(threshold, median, float(dimension), float(chance))


def default_threshold(graph: NeighborGraph) -> float:
    """Return the threshold of :func:`duplicate_evidence`. Raises InputError."""
    return duplicate_evidence(graph).threshold


def near_duplicates(graph: NeighborGraph, threshold: float | None = None) -> list[NDArray[np.int64]]:
    """Find groups of rows joined by distances of at most ``threshold``, each to at least one other of its group.

    Exact wherever a row has fewer near-duplicates than the graph has neighbours; beyond that, groups still join
    through the neighbours that the graph holds.

    Parameters
    ----------
    graph
        Neighbours of the rows.
    threshold
        In the graph's metric; None takes that of :func:`duplicate_evidence`.

    Returns
    -------
    list of int64 arrays
        Row numbers of each group in rising order; larger groups first.

    Raises
    ------
    InputError
        A threshold that is negative or not a number; None with a graph of inner products.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    limit = default_threshold(graph) if threshold is None else float(threshold)
    if not (limit >= 0 or graph.metric == "inner_product") or np.isnan(limit):
        raise InputError("threshold", limit, "a distance of at least 0")
    rows, places = np.nonzero(graph.distances <= limit)
    columns = graph.indices[rows, places]
    known = columns >= 0
    rows, columns = rows[known], columns[known]
    n = graph.n_rows
    _, label = connected_components(
        coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(n, n)), directed=False
    )
    members = np.flatnonzero(np.bincount(label)[label] > 1)
    order = members[np.lexsort((members, label[members]))]
    groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if len(order) else []
    return sorted(groups, key=lambda group: (-len(group), int(group[0])))
