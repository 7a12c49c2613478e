"""A pytest plugin: scikit-learn computes Mahalanobis distances with ours; its tests still compare with SciPy's."""

import types

import numpy as np
import scipy.spatial.distance as scipys
import sklearn.metrics
import sklearn.metrics.pairwise
from scipy.sparse import issparse

import fastclust

_DistanceMetric = sklearn.metrics.DistanceMetric


def _rows(X):
    return X.toarray() if issparse(X) else X


def cdist(XA, XB, metric="euclidean", **kwargs):
    if metric == "mahalanobis":
        return fastclust.mahalanobis(XA, XB, **kwargs)
    return scipys.cdist(XA, XB, metric=metric, **kwargs)


def pdist(X, metric="euclidean", **kwargs):
    if metric == "mahalanobis":
        return scipys.squareform(fastclust.mahalanobis(X, **kwargs), checks=False)
    return scipys.pdist(X, metric=metric, **kwargs)


class Mahalanobis:
    """What scikit-learn's tests ask of a DistanceMetric."""

    def __init__(self, dtype, VI):
        self.dtype = dtype
        self.VI = np.array(VI)

    def pairwise(self, X, Y=None):
        rows = np.asarray(_rows(X), self.dtype)
        others = None if Y is None else np.asarray(_rows(Y), self.dtype)
        return fastclust.mahalanobis(rows, others, VI=self.VI)

    @staticmethod
    def rdist_to_dist(rdist):
        return np.sqrt(rdist)

    @staticmethod
    def dist_to_rdist(dist):
        return np.asarray(dist) ** 2


class DistanceMetric:
    """scikit-learn's, but for one metric."""

    @staticmethod
    def get_metric(metric, dtype=np.float64, **kwargs):
        if metric == "mahalanobis" and set(kwargs) == {"VI"}:
            return Mahalanobis(dtype, **kwargs)
        return _DistanceMetric.get_metric(metric, dtype, **kwargs)


sklearn.metrics.DistanceMetric = DistanceMetric
sklearn.metrics.pairwise.distance = types.SimpleNamespace(
    **{name: getattr(scipys, name) for name in scipys.__all__} | {"cdist": cdist, "pdist": pdist}
)
