"""Rows that fit no cluster: Mahalanobis distance to their own, with a calibrated p-value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust import progress
from fastclust.insight.grouping import rows_and_labels, rows_by_label
from fastclust.metric import MahalanobisMetric

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["outliers"]

#: A cluster with fewer rows than this many times d shares the covariance of all clusters.
_ROWS_PER_COLUMN = 10
_LEAST_ROWS = 100
#: Rows less likely than this are left out when the covariance is estimated again.
_LEFT_OUT = 0.01


class _Spread(NamedTuple):
    """A within-cluster covariance, and the law of squared distances under it."""

    metric: MahalanobisMetric
    #: Degrees of freedom of the squared distance of a Gaussian row.
    freedom: float
    #: Rows less the means that were estimated.
    rows: int


def outliers(X: Any, model: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score each row by its Mahalanobis distance to the centre of its own cluster.

    The covariance is the cluster's own, or that within all clusters where the cluster has fewer than 10 d or 100 rows;
    shrunk (Ledoit and Wolf, 2004), and estimated a second time without the rows that stood out the first time, so
    that outliers do not hide themselves (Rousseeuw and van Zomeren, 1990).

    A squared distance under a covariance estimated from the same m rows is not chi-square but, for Gaussian rows,
    ``(m - 1)^2 / m`` times a Beta(f / 2, (m - 1 - f) / 2) variable (Gnanadesikan and Kettenring, 1972), with f the
    metric's rank; for rows that were left out, Hotelling's (1931) T-squared. Shrinkage weighs directions unevenly,
    for which f is Satterthwaite's (1946) number. Real rows are not Gaussian: each cluster's squared distances are
    brought to that law's median, and f is lowered until the law has their upper quartile too. P-values are uniform
    for Gaussian clusters; for others the bulk is uniform and the tail is that of the law.

    Parameters
    ----------
    X
        ``[n, d]``, the rows that ``model`` was fitted on.
    model
        Anything with ``labels_`` ``[n]``.

    Returns
    -------
    scores, p_values
        float64 ``[n]``: the distance, and the chance of one as large in a Gaussian cluster. A row alone in its
        cluster has nothing to be compared with: 0 and 1.

    Raises
    ------
    InputError, InputTypeError
        NaN or Inf, no labels, or labels of other rows.
    """
    rows, labels = rows_and_labels(X, model)
    members = rows_by_label(labels)
    moved = np.empty(rows.shape, np.float64)
    for own in members.values():
        moved[own] = rows[own] - rows[own].mean(axis=0, dtype=np.float64)
    scores, p_values = np.zeros(len(rows)), np.ones(len(rows))
    if not moved.any():
        return scores, p_values
    for _ in range(2):
        kept = p_values >= _LEFT_OUT
        _judge(moved, members, kept, scores, p_values)
    return scores, p_values


def _judge(
    moved: NDArray[np.float64],
    members: dict[int, NDArray[np.int64]],
    kept: NDArray[np.bool_],
    scores: NDArray[np.float64],
    p_values: NDArray[np.float64],
) -> None:
    """Write scores and p-values under the covariances of the rows that are ``kept``."""
    least = max(_LEAST_ROWS, _ROWS_PER_COLUMN * moved.shape[1])
    sharing: list[NDArray[np.int64]] = []
    for done, own in enumerate(members.values()):
        progress.report("insight", done, len(members), "outliers")
        used = own[kept[own]]
        if len(used) >= least and moved[used].any():
            spread = _spread(moved[used], 1)
            squared = _squared(moved[own], spread.metric)
            scores[own] = np.sqrt(squared)
            p_values[own] = _tail(squared / _middle(squared[kept[own]]), kept[own], spread)
        elif len(own) > 1:
            sharing.append(own)
    if not sharing:
        return
    spread = _spread(moved[kept], len(members))
    rows = np.concatenate(sharing)
    squared = _squared(moved[rows], spread.metric)
    scores[rows] = np.sqrt(squared)
    usual = _middle(squared[kept[rows]])
    ends = np.cumsum([len(own) for own in sharing])
    for own, part in zip(sharing, np.split(squared, ends[:-1]), strict=True):
        middle = _middle(part[kept[own]]) if kept[own].sum() >= _LEAST_ROWS else usual
        np.divide(part, middle, out=part)  # a view of ``squared``
    p_values[rows] = _tail(squared, kept[rows], spread)


def _spread(rows: NDArray[np.float64], means: int) -> _Spread:
    metric = MahalanobisMetric("ledoit_wolf").fit(rows)
    # Variances of the rows along the metric's own directions: all 1 without shrinkage.
    mapped = rows @ metric.components_.T
    variances = np.clip(np.linalg.eigvalsh(mapped.T @ mapped / len(rows)), 0, None)
    freedom = float(variances.sum() ** 2 / max(float((variances**2).sum()), 1e-300))
    return _Spread(metric, freedom, max(len(rows) - means + 1, 2))


def _squared(moved: NDArray[np.float64], metric: MahalanobisMetric) -> NDArray[np.float64]:
    squared: NDArray[np.float64] = ((moved @ metric.components_.T) ** 2).sum(axis=1)
    return squared


def _middle(squared: NDArray[np.float64]) -> float:
    # Where more than half of the rows lie on their centre, whatever does not is odd.
    return max(float(np.median(squared)), float(np.finfo(np.float64).tiny)) if len(squared) else 1.0


def _tail(ratio: NDArray[np.float64], inside: NDArray[np.bool_], spread: _Spread) -> NDArray[np.float64]:
    """Return the chance of a larger squared distance, for rows ``inside`` the estimate of the covariance and others.

    ``ratio`` is the squared distance over the median of those inside.
    """
    from scipy.special import betaincc, betaincinv

    half = _freedom(ratio[inside], spread) / 2
    rest = max((spread.rows - 1) / 2 - half, 0.5)
    beta = ratio * betaincinv(half, rest, 0.5)
    among = betaincc(half, rest, np.minimum(beta, 1.0))
    # Hotelling's law of a row that the covariance was not estimated from.
    scaled = beta * (spread.rows - 1) / (spread.rows + 1)
    apart = betaincc(half, rest + 0.5, scaled / (1 + scaled))
    chance: NDArray[np.float64] = np.where(inside, among, apart)
    return chance


def _freedom(ratio: NDArray[np.float64], spread: _Spread) -> float:
    """Return the degrees of freedom: the metric's, or fewer where the upper quartile shows a longer tail."""
    from scipy.optimize import brentq
    from scipy.special import betaincinv

    if len(ratio) < _LEAST_ROWS:
        return spread.freedom
    seen = float(np.quantile(ratio, 0.75))

    def excess(freedom: float) -> float:
        half, rest = freedom / 2, max((spread.rows - 1 - freedom) / 2, 0.5)
        return float(betaincinv(half, rest, 0.75) / betaincinv(half, rest, 0.5)) - seen

    least = 0.25
    if excess(spread.freedom) >= 0:
        return spread.freedom
    return least if excess(least) <= 0 else float(brentq(excess, least, spread.freedom))
