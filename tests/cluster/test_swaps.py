import numpy as np
import pytest

from fastclust.cluster.rows import DenseRows
from fastclust.cluster.settling import Settling
from fastclust.cluster.swaps import swaps
from fastclust_kernels.assign.candidates import CandidateSearch, cells_of


def squared(X, points):
    return ((X[:, None].astype(np.float64) - points.astype(np.float64)) ** 2).sum(axis=2)


def blobs(k=12, each=30, d=4):
    rng = np.random.default_rng(0)
    means = 50 * rng.normal(size=(k, d))
    return (np.repeat(means, each, axis=0) + rng.normal(size=(k * each, d))).astype(np.float32), means


def searched(X, centers):
    found = CandidateSearch(X)
    labels = found.search(centers, cells_of(centers, np.zeros(len(centers), np.int32)), 1)
    return labels, found.seconds(centers, labels)


def test_seconds_are_those_of_all_distances():
    """16 centres have a lane each, so that all of them are candidates."""
    X, _ = blobs()
    centers = X[:: len(X) // 16][:16].copy()
    labels, (own, second, heirs) = searched(X, centers)
    distances = squared(X, centers)
    order = np.argsort(distances, axis=1, kind="stable")
    np.testing.assert_array_equal(labels, order[:, 0])
    np.testing.assert_array_equal(heirs, order[:, 1])
    np.testing.assert_allclose(own, np.sort(distances, axis=1)[:, 0])
    np.testing.assert_allclose(second, np.sort(distances, axis=1)[:, 1])


def test_a_single_centre_has_no_second():
    X, _ = blobs()
    labels, (_, second, heirs) = searched(X, X[:1].copy())
    assert np.isinf(second).all()
    assert (heirs == -1).all()
    assert not len(swaps(DenseRows(X), labels, searched(X, X[:1].copy())[1], 1, None, np.random.RandomState(0)).rows)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_centre_too_many_goes_where_one_is_missing_and_the_inertia_falls(weighted):
    X, means = blobs()
    centers = means.astype(np.float32)
    centers[3] = X[4 * 30]  # blob 4 has two, blob 3 none
    labels, nearest = searched(X, centers)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(X)) if weighted else None
    found = swaps(DenseRows(X), labels, nearest, 12, weights, np.random.RandomState(0))
    assert len(found.rows) == 1
    assert found.centers[0] in (3, 4)
    assert found.rows[0] in labels.nonzero()[0]
    assert labels[found.rows[0]] == found.clusters[0] == labels[90]
    each = np.ones(len(X)) if weights is None else weights
    before = each @ squared(X, centers).min(axis=1)
    centers[found.centers] = X[found.rows]
    assert each @ squared(X, centers).min(axis=1) < 0.1 * before


def test_both_of_two_centres_on_one_place_do_not_leave_it():
    X, means = blobs()
    centers = means.astype(np.float32)
    centers[3], centers[7] = centers[4] + 0.1, centers[4] - 0.1
    labels, nearest = searched(X, centers)
    found = swaps(DenseRows(X), labels, nearest, 12, None, np.random.RandomState(0))
    assert 0 < len(found.rows) <= 2
    assert len({3, 4, 7} - set(found.centers.tolist())) >= 1
    assert len(set(found.centers.tolist())) == len(found.centers)


def test_where_every_centre_is_of_use_none_moves():
    X, means = blobs()
    labels, nearest = searched(X, means.astype(np.float32))
    assert not len(swaps(DenseRows(X), labels, nearest, 12, None, np.random.RandomState(0)).rows)


def test_settling_finds_the_blobs_from_a_start_that_misses_most_of_them():
    X, means = blobs()
    start = X[:12].copy()  # all in one blob
    found = Settling(DenseRows(X), start, None, np.random.RandomState(0), cells=3, cosine=False)
    found.iterate(4, 0.0)
    for _ in range(4):  # a few moves at a time: begin again from where it ended
        found = Settling(DenseRows(X), found.centers, None, np.random.RandomState(0), cells=3, cosine=False)
        found.iterate(4, 0.0)
    labels, distances, certified = found.finish()
    np.testing.assert_allclose(distances, squared(X, found.centers)[np.arange(len(X)), labels], rtol=1e-5, atol=1e-9)
    assert distances.sum() < 1.05 * squared(X, means).min(axis=1).sum()
    assert 0.0 <= certified <= 1.0
