"""What a few labels are worth on Fashion-MNIST, one asked for in each cluster: python few_labels.py [ROWS] [LABELS].

One draw of random labels says little, so that there are ten. Their mean is only a hundredth or two behind, and not at
all with hundreds of labels; but one of them is what a person gets, and the worst is further off.
"""

from __future__ import annotations

import sys

import numpy as np

import fastclust as fc


def main(rows: int = 10_000, wanted: int = 40, draws: int = 10) -> tuple[float, float]:
    """Return the accuracy on rows without a label: one asked for in each cluster, and the mean of as many at random."""
    images = fc.open_images("fashion-mnist")
    X = images.read().reshape(len(images), -1)[:rows].astype(np.float32) / 255
    assert images.labels is not None
    truth = images.labels[:rows]
    X = fc.PCA(50, random_state=0).fit(X).transform(X)
    graph = fc.knn_graph(X, n_neighbors=15)

    def accuracy(known: np.ndarray) -> float:
        given = np.full(rows, -1)
        given[known] = truth[known]
        labels, _ = fc.insight.propagate_labels(graph, given)
        rest = given < 0
        return float(np.mean(labels[rest] == truth[rest]))

    model = fc.KMeans(wanted, random_state=0).fit(X)
    chosen = accuracy(fc.insight.representatives(X, model, per_cluster=1))
    print(f"{wanted} labels, one a cluster: {chosen:.3f} of the others right")
    rng = np.random.default_rng(0)
    drawn = [accuracy(rng.choice(rows, wanted, replace=False)) for _ in range(draws)]
    print(f"{wanted} labels at random: {np.mean(drawn):.3f} ({min(drawn):.3f} to {max(drawn):.3f}, {draws} draws)")
    return chosen, float(np.mean(drawn))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
