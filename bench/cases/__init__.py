"""All cases, by name."""

from bench.cases import kmeans_cpu, mahalanobis, neighbors, service, tsne

__all__ = ["ALL"]

ALL = {module.CASE.name: module.CASE for module in (mahalanobis, kmeans_cpu, neighbors, tsne, service)}
