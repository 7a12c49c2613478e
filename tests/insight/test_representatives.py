"""Representatives against the obvious search, and on hard shapes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust.errors import InputError
from fastclust.insight import representatives


def clustering(X, labels, k):
    centers = np.stack([X[labels == c].mean(axis=0) if (labels == c).any() else np.zeros(X.shape[1]) for c in range(k)])
    return SimpleNamespace(cluster_centers_=centers, labels_=labels)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 60), k=st.integers(1, 5), per=st.integers(1, 6), seed=st.integers(0, 2**16))
def test_members_of_their_cluster_without_repeats_and_padded_at_the_end(n, k, per, seed):
    rng = np.random.default_rng(seed)
    X, labels = rng.integers(0, 3, (n, 2)).astype(float), rng.integers(0, k, n)
    found = representatives(X, clustering(X, labels, k), per)
    assert found.shape == (k, per)
    for cluster, row in enumerate(found):
        real = row[row >= 0]
        assert len(set(real)) == len(real) == min(per, (labels == cluster).sum())
        assert (labels[real] == cluster).all()
        assert (row[len(real) :] == -1).all()


def test_first_is_the_medoid_and_the_rest_are_farthest_first():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(400, 3)), np.repeat([0, 1], 200)
    model = clustering(X, labels, 2)
    for cluster, row in enumerate(representatives(X, model, 5)):
        own = np.flatnonzero(labels == cluster)
        # The medoid by squared distances: the row with the least sum of them to all others.
        sums = [((X[own] - X[one]) ** 2).sum() for one in own]
        assert row[0] == own[int(np.argmin(sums))]
        inner = sorted(own, key=lambda one: np.linalg.norm(X[one] - model.cluster_centers_[cluster]))[:150]
        for place in range(1, 5):
            gaps = {one: min(np.linalg.norm(X[one] - X[other]) for other in row[:place]) for one in inner}
            assert row[place] == max(gaps, key=gaps.get)


def test_oddities_at_the_rim_do_not_represent():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(100, 2)), [[50.0, 50.0]]])
    assert 100 not in representatives(X, clustering(X, np.zeros(101, int), 1), 4)


def test_rows_left_aside_by_a_clustering_represent_nothing():
    X = np.random.default_rng(0).normal(size=(30, 2))
    labels = np.array([0] * 10 + [1] * 10 + [-1] * 10)
    assert representatives(X, clustering(X, labels, 2), 3).max() < 20


@pytest.mark.parametrize("per_cluster", [0, -1, 1.5])
def test_a_count_that_is_none_is_refused(per_cluster):
    with pytest.raises(InputError, match="per_cluster"):
        representatives(np.zeros((3, 2)), clustering(np.zeros((3, 2)), np.zeros(3, int), 1), per_cluster)


def test_centres_of_another_width_are_refused():
    with pytest.raises(InputError, match="cluster_centers_"):
        representatives(np.zeros((3, 2)), clustering(np.zeros((3, 5)), np.zeros(3, int), 1))
