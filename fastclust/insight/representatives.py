"""What to look at or label first: for each cluster its most central row, and others that differ from it."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError
from fastclust.insight.grouping import rows_and_labels, rows_by_label

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["representatives"]

#: Diverse members come from this inner share of the cluster, so that they are members and not oddities.
_INNER = 0.75


def representatives(X: Any, model: Any, per_cluster: int = 4) -> NDArray[np.int64]:
    """Choose rows that stand for each cluster.

    First the row nearest to the centre (the medoid by squared distances, where the centre is the mean), then, again
    and again, the row of the inner three quarters that is farthest from those chosen (Gonzalez, "Clustering to
    minimize the maximum intercluster distance", 1985).

    Where only a few labels can be had, cluster into as many clusters as labels and take one of each: of 40 images of
    Fashion-MNIST that told the rest more than four each of ten clusters did (``python -m bench insight``).

    Parameters
    ----------
    X
        ``[n, d]``, the rows that ``model`` was fitted on.
    model
        Anything with ``cluster_centers_`` ``[k, d]`` and ``labels_`` ``[n]``.
    per_cluster
        Rows a cluster.

    Returns
    -------
    int64 array
        ``[k, per_cluster]``; -1 where a cluster has fewer rows.

    Raises
    ------
    InputError, InputTypeError
        ``per_cluster`` below 1, NaN or Inf, labels of other rows, centres of another width.
    """
    if not isinstance(per_cluster, Integral) or per_cluster < 1:
        raise InputError("per_cluster", per_cluster, "a whole number of at least 1")
    rows, labels = rows_and_labels(X, model)
    centers = np.asarray(model.cluster_centers_, np.float64)
    if centers.ndim != 2 or centers.shape[1] != rows.shape[1]:
        raise InputError("model", f"cluster_centers_ of shape {centers.shape}", f"[k, {rows.shape[1]}], as X has")
    out = np.full((len(centers), int(per_cluster)), -1, np.int64)
    for cluster, own in rows_by_label(labels).items():
        if not 0 <= cluster < len(centers):
            continue  # rows that a clustering left aside, such as noise at -1
        chosen = _diverse(rows[own].astype(np.float64), centers[cluster], int(per_cluster))
        out[cluster, : len(chosen)] = own[chosen]
    return out


def _diverse(rows: NDArray[np.float64], center: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of up to ``count`` of ``rows``: the nearest to ``center``, then each the farthest from those before."""
    order = np.argsort(((rows - center) ** 2).sum(axis=1), kind="stable")
    kept = order[: max(count, int(np.ceil(_INNER * len(rows))))]
    inside = rows[kept]
    chosen = [0]
    nearest = ((inside - inside[0]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(kept)):
        # Below every distance: duplicates of what was chosen come before what was chosen itself.
        nearest[chosen] = -1.0
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, ((inside - inside[chosen[-1]]) ** 2).sum(axis=1))
    return kept[chosen]
