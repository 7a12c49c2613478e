"""k-means estimators with scikit-learn's conventions, on our own kernels."""

from fastclust.cluster.balanced import BalancedKMeans
from fastclust.cluster.batch import kmeans_batch
from fastclust.cluster.hierarchical import HierarchicalKMeans
from fastclust.cluster.kmeans import KMeans
from fastclust.cluster.manifold import ManifoldKMeans
from fastclust.cluster.minibatch import MiniBatchKMeans

__all__ = ["BalancedKMeans", "HierarchicalKMeans", "KMeans", "ManifoldKMeans", "MiniBatchKMeans", "kmeans_batch"]
