"""Affinities of a map from distances of neighbours, beside openTSNE's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust_kernels.errors import InputError
from fastclust_kernels.tsne import affinities
from fastclust_kernels.tsne.affinities import conditional, joint, uniform


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 30), k=st.integers(2, 40), share=st.floats(0.1, 0.9), seed=st.integers(0, 999))
def test_each_row_has_its_perplexity(n, k, share, seed):
    distances = np.sort(np.random.default_rng(seed).gamma(2, size=(n, k)), axis=1)
    perplexity = 1 + share * (k - 1)
    p = conditional(distances, perplexity).astype(np.float64)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
    np.testing.assert_allclose(np.exp(entropy), perplexity, rtol=1e-3)
    assert (np.diff(p, axis=1) <= 1e-7).all()


def test_affinities_of_duplicates_are_equal_parts():
    distances = np.array([[0.0] * 9, [0.0] * 8 + [1.0], [1e-30] * 4 + [2e-30] * 5, [1e20] * 4 + [1e30] * 5])
    p = conditional(distances, 3)
    np.testing.assert_allclose(p[0], 1 / 9, rtol=1e-6)
    np.testing.assert_allclose(p[1, :8], 1 / 8, rtol=1e-6)
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)


def test_joint_affinities_are_opentsnes():
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors
    from sklearn.neighbors import NearestNeighbors

    X = np.random.default_rng(0).normal(size=(400, 6))
    distances, indices = NearestNeighbors(n_neighbors=60).fit(X).kneighbors()
    theirs = PerplexityBasedNN(perplexity=20, knn_index=PrecomputedNeighbors(indices, distances), n_jobs=1).P
    ours = joint(indices, conditional(distances, 20))
    assert abs(ours - theirs).max() < 1e-5 * theirs.max()
    assert ours.nnz == theirs.nnz
    assert abs(ours - ours.T).max() == 0
    assert ours.has_sorted_indices


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 40), k=st.integers(1, 9), rows=st.integers(1, 50), most=st.integers(1, 9), seed=st.integers(0, 99)
)
def test_joint_affinities_are_the_mean_of_both_directions(n, k, rows, most, seed):
    rng = np.random.default_rng(seed)
    indices, given_values = rng.integers(0, n, (n, k)), rng.random((n, k)).astype(np.float32) + 0.1
    expected = np.zeros((n, n))
    np.add.at(expected, (np.repeat(np.arange(n), k), indices.ravel()), given_values.ravel())
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(affinities, "_RANGE", rows)
        changed.setattr(affinities, "_RANGES", most)
        ours = joint(indices, given_values)
    np.testing.assert_allclose(ours.toarray(), (expected + expected.T) / 2 / expected.sum(), rtol=1e-5)
    assert ours.nnz == np.count_nonzero(expected + expected.T)
    assert ours.has_sorted_indices


def test_a_neighbour_that_is_no_row_is_refused():
    with pytest.raises(InputError, match="indices"):
        joint(np.array([[1], [2]]), np.ones((2, 1), np.float32))


def neighbours(n=300, k=60, seed=0):
    from sklearn.neighbors import NearestNeighbors

    X = np.random.default_rng(seed).normal(size=(n, 6))
    distances, indices = NearestNeighbors(n_neighbors=k).fit(X).kneighbors()
    return indices, distances


def test_affinities_of_several_scales_are_opentsnes():
    from openTSNE.affinity import Multiscale
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    indices, distances = neighbours()
    theirs = Multiscale(perplexities=[4, 9, 20], knn_index=PrecomputedNeighbors(indices, distances)).P
    ours = joint(indices, conditional(distances, [4, 9, 20]))
    assert abs(ours - theirs).max() < 1e-5 * theirs.max()
    assert ours.nnz == theirs.nnz


@pytest.mark.parametrize("symmetrize", ["max", "mean"])
def test_uniform_affinities_are_opentsnes(symmetrize):
    from openTSNE.affinity import Uniform
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    indices, distances = neighbours(k=15)
    theirs = Uniform(knn_index=PrecomputedNeighbors(indices, distances), symmetrize=symmetrize).P
    ours = uniform(indices, symmetrize=symmetrize)
    assert abs(ours - theirs).max() < 1e-6 * theirs.max()
    assert ours.nnz == theirs.nnz
    assert ours.sum(dtype=np.float64) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("perplexity", [0.5, 61, [], [5, 100], float("nan")])
def test_a_perplexity_that_the_neighbours_cannot_have_is_refused(perplexity):
    with pytest.raises(InputError, match="perplexity"):
        conditional(neighbours()[1], perplexity)


def test_a_way_to_symmetrize_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="max, mean"):
        uniform(np.array([[1], [0]]), symmetrize="none")
