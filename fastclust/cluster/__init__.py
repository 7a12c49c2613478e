"""k-means estimators with scikit-learn's conventions, on our own kernels."""

from fastclust.cluster.kmeans import KMeans
from fastclust.cluster.minibatch import MiniBatchKMeans

__all__ = ["KMeans", "MiniBatchKMeans"]
