"""k-means estimators with scikit-learn's conventions, on our own kernels."""

from fastclust.cluster.kmeans import KMeans

__all__ = ["KMeans"]
