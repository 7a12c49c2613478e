"""Labels over the graph against a dense solve, and on hard shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from fastclust.errors import InputError, InputTypeError
from fastclust.insight import propagate_labels
from fastclust.neighbors import NeighborGraph, knn_graph


def dense_scores(X, labels, k):
    """Zhou et al. in full: all pairs, loops, and a dense solve."""
    n = len(X)
    D = np.sqrt(((X[:, None] - X[None]) ** 2).sum(axis=2))
    np.fill_diagonal(D, np.inf)
    near = np.argsort(D, axis=1, kind="stable")[:, :k]
    scale = np.sort(D, axis=1)[:, min(7, k) - 1]
    W = np.zeros((n, n))
    for i in range(n):
        for j in near[i]:
            W[i, j] = W[j, i] = np.exp(-(D[i, j] ** 2) / (scale[i] * scale[j]))
    root = np.sqrt(W.sum(axis=1))
    names = np.unique(labels[labels >= 0])
    Y = np.stack([(labels == name) / (labels == name).sum() for name in names], axis=1)
    return names, np.linalg.solve(np.eye(n) - 0.99 * W / np.outer(root, root), Y)


@settings(deadline=None, max_examples=20)
@given(n=st.integers(12, 80), k=st.integers(2, 12), classes=st.integers(2, 20), seed=st.integers(0, 2**16))
def test_labels_are_those_of_the_dense_solve(n, k, classes, seed):
    k = min(k, n - 1)
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    labels = np.where(rng.random(n) < 0.4, rng.integers(0, classes, n), -1)
    labels[0] = 0
    found, confidence = propagate_labels(knn_graph(X, k), labels, n_neighbors=k)
    names, scores = dense_scores(X, labels, k)
    unknown = np.flatnonzero(labels < 0)
    two = np.sort(np.c_[np.zeros(n), scores], axis=1)[:, -2:]
    reached = two[:, 1] > 1e-12
    margin = np.where(reached, (two[:, 1] - two[:, 0]) / np.maximum(two.sum(axis=1), 1e-300), 0)
    clear = unknown[margin[unknown] > 1e-3]
    assert np.array_equal(found[clear], names[scores[clear].argmax(axis=1)])
    np.testing.assert_allclose(confidence[unknown], margin[unknown], atol=2e-3)
    assert np.array_equal(found[labels >= 0], labels[labels >= 0])
    assert (confidence[labels >= 0] == 1).all()


def test_four_labels_a_class_label_the_digits():
    digits = load_digits()
    truth = digits.target
    labels = np.full(len(truth), -1)
    rng = np.random.default_rng(0)
    for digit in range(10):
        labels[rng.choice(np.flatnonzero(truth == digit), 4, replace=False)] = digit
    found, confidence = propagate_labels(knn_graph(digits.data, 15), labels)
    right = (found == truth)[labels < 0]
    assert right.mean() > 0.9
    sure = confidence[labels < 0] > np.median(confidence)
    assert right[sure].mean() > right.mean()


def test_what_no_label_reaches_stays_unknown():
    X = np.concatenate([np.arange(10.0), 1e6 + np.arange(10.0)])[:, None]
    labels = np.full(20, -1)
    labels[3] = 7
    found, confidence = propagate_labels(knn_graph(X, 3), labels)
    assert found.tolist() == [7] * 10 + [-1] * 10
    assert (confidence[10:] == 0).all()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_copies_and_missing_neighbours_do_not_break_it(metric):
    X = np.repeat(np.random.default_rng(0).normal(size=(6, 4)), 10, axis=0)
    graph = knn_graph(X, 12, metric=metric)
    labels = np.full(60, -1)
    labels[[0, 55]] = 0, 1
    found, confidence = propagate_labels(graph, labels)
    assert found[:10].tolist() == [0] * 10
    assert found[50:].tolist() == [1] * 10
    assert np.isfinite(confidence).all()
    holes = graph.indices.copy()
    holes[5, 3:] = -1
    again = propagate_labels(NeighborGraph(holes, graph.distances, metric=metric), labels).labels
    assert again[:10].tolist() == [0] * 10


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (np.zeros(3, int), InputError, r"\(20,\)"),
        (np.full(20, -1), InputError, "no row with a label"),
        (np.zeros(20), InputTypeError, "float64"),
    ],
)
def test_bad_labels_are_refused(labels, error, words):
    graph = knn_graph(np.random.default_rng(0).normal(size=(20, 2)), 4)
    with pytest.raises(error, match=words):
        propagate_labels(graph, labels)


def test_inner_products_are_refused():
    graph = knn_graph(np.random.default_rng(0).normal(size=(20, 2)), 4, metric="inner_product")
    with pytest.raises(InputError, match="inner products"):
        propagate_labels(graph, np.zeros(20, int))
