import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.utils.estimator_checks import check_estimator

from fastclust import BalancedKMeans, KMeans
from fastclust.errors import InputError


def uneven():
    return make_blobs([600, 250, 100, 50], n_features=3, random_state=0)[0]


@pytest.mark.parametrize(("low", "high"), [(250, 250), (200, 300), (1, None), (None, 400), (240, None)])
def test_all_sizes_are_within_the_bounds(low, high):
    model = BalancedKMeans(4, size_min=low, size_max=high, random_state=0).fit(uneven())
    sizes = np.bincount(model.labels_, minlength=4)
    assert sizes.min() >= (low or 1)
    assert sizes.max() <= (high or 1000)


def test_without_bounds_it_is_k_means():
    X = uneven()
    start = X[[0, 300, 700, 900]]
    ours = BalancedKMeans(4, size_min=0, init=start, n_init=1).fit(X)
    exact = KMeans(4, init=start, n_init=1).fit(X)
    assert np.array_equal(ours.labels_, exact.labels_)
    np.testing.assert_allclose(ours.inertia_, exact.inertia_, rtol=1e-9)


def test_labels_belong_to_the_centres_and_weights_move_them():
    X, weights = uneven(), np.random.default_rng(0).random(1000)
    model = BalancedKMeans(4, size_min=200, size_max=300, max_iter=2, random_state=0).fit(X, sample_weight=weights)
    distances = ((X - model.cluster_centers_[model.labels_]) ** 2).sum(axis=1)
    np.testing.assert_allclose(model.inertia_, weights @ distances, rtol=1e-9)


@pytest.mark.parametrize(
    ("params", "field"),
    [({"size_min": 300}, "size_min"), ({"size_max": 200}, "size_max"), ({"size_min": 5, "size_max": 4}, "size_max")],
)
def test_bounds_that_no_sizes_meet_are_named(params, field):
    with pytest.raises(InputError) as caught:
        BalancedKMeans(4, **params).fit(uneven())
    assert caught.value.field == field


def test_scikit_learns_checks_pass():
    found = check_estimator(BalancedKMeans(n_clusters=3), on_fail=None)
    assert len([entry for entry in found if entry["status"] == "failed"]) <= 2
