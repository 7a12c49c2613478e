"""A pytest plugin: SciPy's tests find our Mahalanobis distances where they import SciPy's from."""

import numpy as np
import scipy.spatial.distance as scipys

import fastclust

_cdist, _pdist = scipys.cdist, scipys.pdist


def mahalanobis(u, v, VI):
    return fastclust.mahalanobis(np.atleast_2d(u).astype(float), np.atleast_2d(v).astype(float), VI=VI)[0, 0]


def _ours(metric, kwargs):
    return (metric == "mahalanobis" or metric is mahalanobis) and set(kwargs) <= {"VI"}


def cdist(XA, XB, metric="euclidean", *, out=None, **kwargs):
    if _ours(metric, kwargs):
        # SciPy's results are float64, whatever came.
        return fastclust.mahalanobis(np.asarray(XA, float), np.asarray(XB, float), out=out, **kwargs)
    return _cdist(XA, XB, metric, out=out, **kwargs)


def pdist(X, metric="euclidean", *, out=None, **kwargs):
    if _ours(metric, kwargs):
        square = fastclust.mahalanobis(np.asarray(X, float), **kwargs)
        condensed = square[np.triu_indices(len(square), 1)]
        if out is None:
            return condensed
        if out.shape != condensed.shape or out.dtype != float or not out.flags.c_contiguous:
            raise ValueError("out")
        out[:] = condensed
        return out
    return _pdist(X, metric, out=out, **kwargs)


scipys.mahalanobis, scipys.cdist, scipys.pdist = mahalanobis, cdist, pdist
