"""Figures of quality: clusterings and embeddings against labels, maps against the neighbours they should keep.

Labels of -1 are unknown; rows with one are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError
from fastclust.neighbors import NeighborIndex
from fastclust.neighbors.metrics import rows_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastclust.neighbors import NeighborGraph

__all__ = [
    "adjusted_rand_index",
    "clustering_accuracy",
    "mean_average_precision_at_r",
    "neighbor_preservation",
    "normalized_mutual_information",
    "recall_at_k",
    "silhouette",
    "trustworthiness",
]


def clustering_accuracy(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Share of rows that are right under the best one-to-one matching of clusters to labels (Kuhn, 1955).

    Labels are integers or names ``[n]``, alike in length; raises InputError where they are not, or all are unknown.
    """
    from scipy.optimize import linear_sum_assignment

    true, found = _pair(labels_true, labels_pred)
    _, rows = np.unique(true, return_inverse=True)
    _, columns = np.unique(found, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1), np.int64)
    np.add.at(table, (rows, columns), 1)
    return float(table[linear_sum_assignment(-table)].sum() / len(true))


def normalized_mutual_information(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Mutual information over the arithmetic mean of the entropies, in [0, 1] (as in scikit-learn).

    Labels are integers or names ``[n]``, alike in length; raises InputError where they are not, or all are unknown.
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(*_pair(labels_true, labels_pred)))


def adjusted_rand_index(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Rand index adjusted for chance: 1 for equal partitions, about 0 for random ones (Hubert and Arabie, 1985).

    Labels are integers or names ``[n]``, alike in length; raises InputError where they are not, or all are unknown.
    """
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(*_pair(labels_true, labels_pred)))


def recall_at_k(
    embedding: Any, labels: ArrayLike, k: int = 1, *, metric: str = "cosine", queries: ArrayLike | None = None
) -> float:
    """Share of rows that have one of their own label among their k nearest others.

    Parameters
    ----------
    embedding
        ``[n, d]``.
    labels
        int ``[n]``.
    k
        Neighbours looked at.
    metric
        "cosine" or "euclidean".
    queries
        Row numbers to ask for; None: all.

    Raises
    ------
    InputError, InputTypeError
        Labels of other rows, none that is known, NaN or Inf.
    """
    rows, known, asked = _retrieval(embedding, labels, queries)
    found = _others(rows, asked, k, metric)
    return float((known[found] == known[asked][:, None]).any(axis=1).mean())


def mean_average_precision_at_r(
    embedding: Any, labels: ArrayLike, *, metric: str = "cosine", queries: ArrayLike | None = None
) -> float:
    """MAP@R (Musgrave et al., 2020): over the R nearest of a row with R others of its label, mean precision at hits.

    ``embedding`` ``[n, d]``, integers ``labels`` ``[n]``, ``metric`` "cosine" or "euclidean", ``queries`` row numbers
    (None: all). Raises InputError where no label is shared.
    """
    rows, known, asked = _retrieval(embedding, labels, queries)
    _, number, counts = np.unique(known, return_inverse=True, return_counts=True)
    relevant = counts[number[asked]] - 1
    asked, relevant = asked[relevant > 0], relevant[relevant > 0]
    if not len(asked):
        raise InputError("labels", "no label that two rows share", "labels that rows share")
    found = _others(rows, asked, int(relevant.max()), metric)
    right = known[found] == known[asked][:, None]
    place = np.arange(1, found.shape[1] + 1)
    right &= place <= relevant[:, None]
    precision = np.cumsum(right, axis=1) / place
    return float(((precision * right).sum(axis=1) / relevant).mean())


def trustworthiness(rows: Any, points: Any, *, n_neighbors: int = 10) -> float:
    """How far neighbours on the map are neighbours in the data, in [0, 1] (Venna and Kaski, 2001).

    ``rows`` ``[n, d]``, ``points`` ``[n, 2]``. Compares all pairs in blocks: for up to some ten thousand rows. Raises
    InputError for fewer than 3 rows.
    """
    X, Y = rows_of(rows, "rows").astype(np.float32), rows_of(points, "points").astype(np.float32)
    n = len(X)
    k = min(n_neighbors, (n - 1) // 2)
    if k < 1:
        raise InputError("rows", f"{n} rows", "at least 3 rows")
    near = _others(Y, np.arange(n), k, "euclidean")
    penalty = 0.0
    norms = np.einsum("ij,ij->i", X, X)
    for start in range(0, n, 512):
        own = np.arange(start, min(start + 512, n))
        squared = norms[own, None] + norms - 2 * X[own] @ X.T
        squared[np.arange(len(own)), own] = -np.inf
        here = np.take_along_axis(squared, near[own], 1)
        # Rank of a map neighbour in the data: how many rows are nearer. The row itself is rank 0.
        ranks = np.stack([(squared < here[:, j : j + 1]).sum(axis=1) for j in range(k)], axis=1)
        penalty += float(np.maximum(ranks - k, 0).sum())
    return 1.0 - penalty * 2.0 / (n * k * (2.0 * n - 3.0 * k - 1.0))


def neighbor_preservation(graph: NeighborGraph, points: Any, k: int = 10) -> float:
    """Share of each row's k nearest in the data, by the graph, that are among its k nearest on the map.

    ``points`` ``[n, 2]`` of the rows of ``graph``. Raises InputError for other numbers of rows, or a narrower graph.
    """
    Y = rows_of(points, "points").astype(np.float32)
    true = graph.head(k).indices
    if len(Y) != len(true):
        raise InputError("points", f"{len(Y)} points", f"{len(true)}, the rows of the graph")
    found = NeighborIndex("euclidean", "auto").fit(Y).kneighbors(None, k, return_distance=False)
    return float((true[:, :, None] == found[:, None]).any(axis=2).mean())


def silhouette(rows: Any, labels: ArrayLike, *, sample: int = 10_000, random_state: int = 0) -> float:
    """Mean silhouette (Rousseeuw, 1987) of a random sample of at most ``sample`` of the rows ``[n, d]``.

    ``labels`` are integers ``[n]``. Raises InputError, and ValueError for one cluster alone.
    """
    from sklearn.metrics import silhouette_score

    X, found = rows_of(rows, "rows"), np.asarray(labels)
    return float(silhouette_score(X, found, sample_size=min(sample, len(X)), random_state=random_state))


def _pair(labels_true: ArrayLike, labels_pred: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    true, found = np.asarray(labels_true), np.asarray(labels_pred)
    if true.ndim != 1 or true.shape != found.shape:
        raise InputError("labels_pred", f"shape {found.shape}", f"one dimension, as labels_true: {true.shape}")
    known = true >= 0 if true.dtype.kind in "iu" else np.ones(len(true), bool)
    if not known.any():
        raise InputError("labels_true", "no known label", "at least one label that is not -1")
    return true[known], found[known]


def _retrieval(
    embedding: Any, labels: ArrayLike, queries: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    rows, known = rows_of(embedding, "embedding"), np.asarray(labels)
    if known.shape != (len(rows),):
        raise InputError("labels", f"shape {known.shape}", f"({len(rows)},), one a row")
    keep = np.flatnonzero(known >= 0)
    asked = np.arange(len(rows)) if queries is None else np.asarray(queries)
    place = np.full(len(rows), -1)
    place[keep] = np.arange(len(keep))
    asked = place[asked]
    if len(keep) < 2:
        raise InputError("labels", f"{len(keep)} known labels", "at least 2")
    return rows[keep], known[keep], asked[asked >= 0]


def _others(rows: NDArray[Any], asked: NDArray[np.int64], k: int, metric: str) -> NDArray[np.int64]:
    """Numbers ``[q, k]`` of the nearest rows, the asking row itself left out; exact."""
    if not 1 <= k < len(rows):
        raise InputError("k", k, f"1..{len(rows) - 1}, one less than the number of rows")
    found = NeighborIndex(metric, "exact").fit(rows).kneighbors(rows[asked], k + 1, return_distance=False)
    itself = found == asked[:, None]
    place = np.where(itself.any(axis=1), itself.argmax(axis=1), k)
    rest: NDArray[np.int64] = found[np.arange(k + 1) != place[:, None]].reshape(len(asked), k)
    return rest
