"""Clusters, a map and what stands out, on scikit-learn's scanned digits: python digits.py [ROWS]."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import fastclust as fc
from fastclust.report import write_map_png


def main(rows: int = 1797) -> float:
    """Return the accuracy of the clusters against labels that were never used."""
    images = fc.open_images("digits")
    X = images.read().reshape(len(images), -1)[:rows].astype(np.float32)
    labels = images.labels
    assert labels is not None
    graph = fc.knn_graph(X, n_neighbors=30)
    clusters = fc.ManifoldKMeans(10, random_state=0).fit(X).labels_
    accuracy = fc.evaluation.clustering_accuracy(labels[:rows], clusters)
    print(f"{rows} digits, 10 clusters, accuracy {accuracy:.3f}")

    model = fc.KMeans(10, random_state=0).fit(X)
    _, p_values = fc.insight.outliers(X, model)
    print("fit their clusters least:", np.argsort(p_values)[:5].tolist())

    points = fc.TSNE(perplexity=10, max_iter=300, random_state=0).fit_transform(graph)
    write_map_png(Path("digits.png"), points, clusters, title="digits")
    print("wrote digits.png")
    return accuracy


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
