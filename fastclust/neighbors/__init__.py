"""Nearest neighbours: an index to search, and the graph of a data set. The only importer of faiss and pynndescent."""

from fastclust.neighbors.graph import NeighborGraph, knn_graph
from fastclust.neighbors.index import NeighborIndex

__all__ = ["NeighborGraph", "NeighborIndex", "knn_graph"]
