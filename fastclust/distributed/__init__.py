"""The same estimators over a Ray cluster, where nodes may be lost, or a torch.distributed group, with a GPU a process.

Workers keep their own rows. The only importer of ray.
"""

from fastclust.distributed.group import GroupKMeans
from fastclust.distributed.kmeans import KMeans
from fastclust.distributed.neighbors import kneighbors_to
from fastclust.distributed.training import fine_tune, train
from fastclust.distributed.writing import predict_to, transform_to

__all__ = ["GroupKMeans", "KMeans", "fine_tune", "kneighbors_to", "predict_to", "train", "transform_to"]
