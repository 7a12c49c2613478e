"""What a few labels are worth on Fashion-MNIST, asked for where it pays: python few_labels.py [ROWS] [LABELS]."""

from __future__ import annotations

import sys

import numpy as np

import fastclust as fc


def main(rows: int = 10_000, wanted: int = 100) -> tuple[float, float]:
    """Return the accuracy on rows without a label: one asked for in each cluster, and as many at random."""
    images = fc.open_images("fashion-mnist")
    X = images.read().reshape(len(images), -1)[:rows].astype(np.float32) / 255
    assert images.labels is not None
    truth = images.labels[:rows]
    X = fc.PCA(50, random_state=0).fit(X).transform(X)
    graph = fc.knn_graph(X, n_neighbors=15)
    model = fc.KMeans(wanted, random_state=0).fit(X)
    asked = fc.insight.representatives(X, model, per_cluster=1)
    drawn = np.random.default_rng(0).choice(rows, len(asked), replace=False)
    found = []
    for name, known in (("one a cluster", asked), ("at random", drawn)):
        given = np.full(rows, -1)
        given[known] = truth[known]
        labels, _ = fc.insight.propagate_labels(graph, given)
        rest = given < 0
        found.append(float(np.mean(labels[rest] == truth[rest])))
        print(f"{len(known)} labels, {name}: {found[-1]:.3f} of the others right")
    return found[0], found[1]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
