"""The same estimators over a Ray cluster: workers keep their own rows, nodes may be lost. The only importer of ray."""

from fastclust.distributed.kmeans import KMeans
from fastclust.distributed.neighbors import kneighbors_to
from fastclust.distributed.training import fine_tune, train
from fastclust.distributed.writing import predict_to, transform_to

__all__ = ["KMeans", "fine_tune", "kneighbors_to", "predict_to", "train", "transform_to"]
