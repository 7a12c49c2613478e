"""Rows that fit no cluster: Mahalanobis distance to their own, with a calibrated p-value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError
from fastclust.metric import MahalanobisMetric
from fastclust.neighbors.metrics import rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["outliers"]

#: A cluster with fewer rows than this many times d shares the covariance of all clusters.
_ROWS_PER_COLUMN = 3
_LEAST_ROWS = 30


def outliers(X: Any, model: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score each row by its Mahalanobis distance to the centre of its own cluster.

    The covariance is the cluster's own (shrunk: Ledoit and Wolf, 2004), or that within all clusters where the cluster
    is small. Squared distances of Gaussian rows follow a chi-square law with as many degrees of freedom as the rank;
    real rows are rarely Gaussian, and shrinkage changes the scale, so each cluster's squared distances are scaled to
    that law's median first.

    Parameters
    ----------
    X
        ``[n, d]``, the rows that ``model`` was fitted on.
    model
        Anything with ``labels_`` ``[n]``.

    Returns
    -------
    scores, p_values
        float64 ``[n]``: the distance, and the chance of a larger one in a Gaussian cluster.
    """
    from scipy.stats import chi2

    rows = rows_of(X).astype(np.float64)
    labels = np.asarray(model.labels_)
    if labels.shape != (len(rows),):
        raise InputError("X", f"{len(rows)} rows", f"{len(labels)}, the rows that the model was fitted on")
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    moved = np.empty_like(rows)
    for own in members:
        moved[own] = rows[own] - rows[own].mean(axis=0)
    if not moved.any():
        return np.zeros(len(rows)), np.ones(len(rows))
    pooled = MahalanobisMetric("ledoit_wolf").fit(moved)
    scores, p_values = np.zeros(len(rows)), np.ones(len(rows))
    for own in members:
        enough = len(own) >= max(_LEAST_ROWS, _ROWS_PER_COLUMN * rows.shape[1])
        metric = MahalanobisMetric("ledoit_wolf").fit(moved[own]) if enough and moved[own].any() else pooled
        squared = ((moved[own] @ metric.components_.T) ** 2).sum(axis=1)
        scores[own] = np.sqrt(squared)
        middle = float(np.median(squared))
        scale = float(chi2.median(metric.rank_)) / middle if middle > 0 else 1.0
        p_values[own] = chi2.sf(squared * scale, metric.rank_)
    return scores, p_values
