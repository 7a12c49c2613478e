"""Mahalanobis distances and metrics: one linear map that k-means, neighbours and distances share."""

from fastclust.metric.distances import mahalanobis, mahalanobis_to_components
from fastclust.metric.estimator import MahalanobisMetric
from fastclust.metric.kissme import KISSME
from fastclust.metric.lmnn import LMNN
from fastclust.metric.nca import NCA
from fastclust.metric.rca import RCA

__all__ = ["KISSME", "LMNN", "NCA", "RCA", "MahalanobisMetric", "mahalanobis", "mahalanobis_to_components"]
