from itertools import pairwise

import numba
import numpy as np
import pytest

from fastclust import HierarchicalKMeans, KMeans
from fastclust.cluster.hierarchical import _shares
from fastclust.errors import InputError, InputTypeError
from fastclust_kernels.assign.grouped import GroupedSearch


def rows(n=6000, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_the_inertia_is_close_to_that_of_the_exact_fit():
    X = rows()
    exact = KMeans(400, random_state=0, max_iter=25).fit(X).inertia_
    model = HierarchicalKMeans(400, n_probes=8, max_iter=25, random_state=0).fit(X)
    assert model.inertia_ <= 1.01 * exact
    distances = ((X - model.cluster_centers_[model.labels_]) ** 2).sum(axis=1)
    np.testing.assert_allclose(model.inertia_, distances.sum(dtype=np.float64), rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_are_the_nearest_of_the_groups_looked_at(dtype, offset):
    """Against every distance to the centres of those groups, in float64."""
    X, centers = (rows(500) + offset).astype(dtype), (rows(60, seed=1) + offset).astype(dtype)
    first = np.array([0, 20, 21, 45, 60])
    search = GroupedSearch(X, centers, first, 2)
    labels = search.step(centers, np.zeros(500, np.int32))
    means = np.stack([centers[a:b].mean(axis=0) for a, b in pairwise(first)])
    squared = lambda points: ((X[:, None].astype(np.float64) - points.astype(np.float64)) ** 2).sum(axis=2)  # noqa: E731
    nearest = np.argsort(squared(means), axis=1)[:, :2]
    distances = squared(centers)
    owner = np.repeat(np.arange(4), np.diff(first))
    allowed = (owner[None] == nearest[:, :1]) | (owner[None] == nearest[:, 1:]) | (np.arange(60) == 0)
    least = np.where(allowed, distances, np.inf).min(axis=1)
    np.testing.assert_allclose(distances[np.arange(500), labels], least, rtol=1e-4 if offset else 1e-6)


def test_certified_rows_have_their_nearest_centre():
    X = np.concatenate([rows(300) * 0.1 + c for c in (0, 10, 20)])
    model = HierarchicalKMeans(9, n_cells=3, n_probes=1, random_state=0).fit(X)
    assert model.certified_ == 1.0
    assert np.array_equal(model.predict(X), model.labels_)


def test_rows_that_may_have_a_nearer_centre_are_not_certified():
    X = rows(2000, 16)
    model = HierarchicalKMeans(200, n_probes=1, max_iter=2, random_state=0).fit(X)
    wrong = (model.predict(X) != model.labels_).mean()
    assert wrong > 0
    assert model.certified_ <= 1 - wrong


def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads():
    X, before, found = rows(2000), numba.get_num_threads(), []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            found.append(HierarchicalKMeans(50, random_state=0).fit(X).cluster_centers_.tobytes())
    finally:
        numba.set_num_threads(before)
    assert found[0] == found[1]


def test_cells_with_duplicates_and_weights_of_zero_are_split():
    X = np.repeat(rows(40), 20, axis=0)
    weights = np.tile([1.0, 0.0], 400)
    model = HierarchicalKMeans(40, random_state=0).fit(X, sample_weight=weights)
    assert np.isfinite(model.cluster_centers_).all()
    assert model.inertia_ < 0.05 * weights @ (X.var(axis=0).sum() * np.ones(len(X)))


def test_the_shares_add_up_and_fit_into_the_cells():
    shares = _shares(np.array([5.0, 0.0, 1e9, 3.0]), np.array([10, 4, 7, 0]), 15, 8)
    assert shares.sum() == 15
    assert (shares <= [10, 4, 7, 0]).all()


def test_what_it_cannot_take_is_refused():
    from scipy.sparse import csr_array

    with pytest.raises(InputTypeError, match="toarray"):
        HierarchicalKMeans(2).fit(csr_array(np.eye(5)))
    with pytest.raises(InputError, match="n_probes"):
        HierarchicalKMeans(2, n_probes=0).fit(rows())
    with pytest.raises(InputError, match="n_clusters"):
        HierarchicalKMeans(7000).fit(rows())
