"""What to look at or label first: for each cluster its most central row, and others that differ from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError
from fastclust.neighbors.metrics import rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["representatives"]

#: Diverse members come from this inner share of the cluster, so that they are members and not oddities.
_INNER = 0.75


def representatives(X: Any, model: Any, per_cluster: int = 4) -> NDArray[np.int64]:
    """Choose rows that stand for each cluster.

    First the row nearest to the centre, then, again and again, the row of the inner three quarters that is farthest
    from those chosen (Gonzalez, 1985).

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
    """
    if per_cluster < 1:
        raise InputError("per_cluster", per_cluster, "at least 1")
    rows, labels = rows_of(X), np.asarray(model.labels_)
    centers = np.asarray(model.cluster_centers_, np.float64)
    if labels.shape != (len(rows),):
        raise InputError("X", f"{len(rows)} rows", f"{len(labels)}, the rows that the model was fitted on")
    out = np.full((len(centers), per_cluster), -1, np.int64)
    for cluster, center in enumerate(centers):
        own = np.flatnonzero(labels == cluster)
        if not len(own):
            continue
        inside = rows[own].astype(np.float64)
        order = np.argsort(((inside - center) ** 2).sum(axis=1), kind="stable")
        kept = order[: max(per_cluster, int(np.ceil(_INNER * len(own))))]
        inside, own = inside[kept], own[kept]
        chosen = [0]
        nearest = ((inside - inside[0]) ** 2).sum(axis=1)
        while len(chosen) < min(per_cluster, len(own)):
            # Duplicates of what was chosen have distance 0 and come last.
            nearest[chosen] = -1.0
            chosen.append(int(np.argmax(nearest)))
            nearest = np.minimum(nearest, ((inside - inside[chosen[-1]]) ** 2).sum(axis=1))
        out[cluster, : len(chosen)] = own[chosen]
    return out
