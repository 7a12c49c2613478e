import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.manifold import trustworthiness as their_trustworthiness

from fastclust import NeighborGraph, evaluation
from fastclust.errors import InputError
from fastclust.neighbors import knn_graph


@pytest.fixture(scope="module")
def labelled():
    rng = np.random.default_rng(0)
    labels = rng.integers(5, size=200)
    return rng.normal(size=(5, 6))[labels] * 1.5 + rng.normal(size=(200, 6)), labels


def order_of(X, metric):
    distances = cdist(X, X, metric)
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1)


def test_accuracy_is_that_of_the_best_matching():
    from itertools import permutations

    rng = np.random.default_rng(1)
    true, found = rng.integers(4, size=60), rng.integers(4, size=60)
    best = max(np.mean(np.array(names)[found] == true) for names in permutations(range(4)))
    assert evaluation.clustering_accuracy(true, found) == pytest.approx(best)


def test_unknown_labels_are_left_out():
    true, found = np.array([0, 0, 1, 1, -1, -1]), np.array([3, 3, 7, 7, 3, 7])
    assert evaluation.clustering_accuracy(true, found) == 1
    assert evaluation.normalized_mutual_information(true, found) == pytest.approx(1)
    assert evaluation.adjusted_rand_index(true, found) == 1


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 4])
def test_recall_counts_rows_with_a_right_neighbour(labelled, metric, k):
    X, labels = labelled
    found = order_of(X, metric)[:, :k]
    wanted = np.mean([(labels[found[i]] == labels[i]).any() for i in range(len(X))])
    assert evaluation.recall_at_k(X, labels, k, metric=metric) == pytest.approx(wanted)
    some = np.arange(0, 200, 7)
    wanted = np.mean([(labels[found[i]] == labels[i]).any() for i in some])
    assert evaluation.recall_at_k(X, labels, k, metric=metric, queries=some) == pytest.approx(wanted)


def test_map_at_r_is_the_papers(labelled):
    X, labels = labelled
    order = order_of(X, "euclidean")
    scores = []
    for i in range(len(X)):
        r = (labels == labels[i]).sum() - 1
        right = labels[order[i, :r]] == labels[i]
        scores.append(sum(right[: j + 1].mean() for j in range(r) if right[j]) / r)
    found = evaluation.mean_average_precision_at_r(X, labels, metric="euclidean")
    assert found == pytest.approx(np.mean(scores))


def test_trustworthiness_is_scikit_learns(labelled):
    X, _ = labelled
    points = X[:, :2].astype(np.float32)
    wanted = their_trustworthiness(X, points, n_neighbors=7)
    assert evaluation.trustworthiness(X, points, n_neighbors=7) == pytest.approx(wanted, abs=1e-6)


def test_preservation_is_one_for_the_data_itself_and_low_for_noise(labelled):
    X, _ = labelled
    graph = knn_graph(X, 12)
    assert evaluation.neighbor_preservation(graph, X, k=10) == pytest.approx(1)
    noise = np.random.default_rng(0).normal(size=(200, 2))
    assert evaluation.neighbor_preservation(graph, noise, k=10) < 0.2


@pytest.mark.parametrize(
    "call",
    [
        lambda: evaluation.clustering_accuracy([0, 1], [0]),
        lambda: evaluation.clustering_accuracy([-1, -1], [0, 1]),
        lambda: evaluation.recall_at_k(np.eye(3), [0, 1]),
        lambda: evaluation.recall_at_k(np.eye(3), [0, 1, 1], k=3),
        lambda: evaluation.mean_average_precision_at_r(np.eye(3), [0, 1, 2]),
        lambda: evaluation.neighbor_preservation(
            NeighborGraph(np.zeros((3, 2), np.int64), np.zeros((3, 2))), np.eye(4), 2
        ),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError):
        call()
