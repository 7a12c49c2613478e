"""Which affinities fc.TSNE computes: openTSNE's, from the same graph."""

import numpy as np
import pytest

import fastclust as fc
from fastclust.errors import InputError
from fastclust.maps.affinities import affinities_of, neighbors_wanted


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(200, 5))


@pytest.fixture(scope="module")
def graph(rows):
    return fc.knn_graph(rows, 60)


def theirs(kind, graph, k, **params):
    from openTSNE import affinity
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    neighbors = PrecomputedNeighbors(graph.indices[:, :k], graph.distances[:, :k].astype(np.float64))
    return getattr(affinity, kind)(knn_index=neighbors, **params).P


@pytest.mark.parametrize(
    ("params", "kind", "their_params", "k"),
    [
        ({"perplexity": 20}, "PerplexityBasedNN", {"perplexity": 20}, 60),
        ({"perplexity": [5, 20]}, "Multiscale", {"perplexities": [5, 20]}, 60),
        ({"perplexity": 8, "k_neighbors": 30}, "PerplexityBasedNN", {"perplexity": 8}, 30),
        ({"affinities": "uniform"}, "Uniform", {"symmetrize": "max"}, 15),
        ({"affinities": "uniform", "k_neighbors": 7}, "Uniform", {"symmetrize": "max"}, 7),
    ],
)
def test_the_affinities_are_opentsnes(graph, params, kind, their_params, k):
    model = fc.TSNE(**params)
    assert neighbors_wanted(model, graph.n_rows) == k
    ours, expected = affinities_of(model, graph.head(k)), theirs(kind, graph, k, **their_params)
    assert abs(ours - expected).max() < 1e-5 * expected.max()
    assert ours.nnz == expected.nnz


@pytest.mark.parametrize("backend", ["cpu", "opentsne"])
@pytest.mark.parametrize("params", [{"perplexity": (3, 10)}, {"affinities": "uniform", "k_neighbors": 10}])
def test_both_optimisers_take_all_affinities(rows, backend, params):
    model = fc.TSNE(max_iter=30, backend=backend, random_state=0, **params).fit(rows)
    assert np.isfinite(model.embedding_).all()
    assert model.backend_ == backend


def test_both_optimisers_work_on_the_same_affinities(rows):
    """One iteration: the divergence tells whether P is the same; openTSNE's repulsion is a tree's, and approximate."""
    for params in ({"perplexity": [3, 10]}, {"affinities": "uniform"}):
        found = [
            fc.TSNE(max_iter=1, backend=backend, random_state=0, **params).fit(rows).kl_divergence_
            for backend in ("cpu", "opentsne")
        ]
        assert found[0] == pytest.approx(found[1], rel=2e-3)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"affinities": "cauchy"}, "affinities"),
        ({"perplexity": []}, "perplexity"),
        ({"perplexity": "30"}, "perplexity"),
        ({"perplexity": None}, "perplexity"),
        ({"perplexity": [10, 200]}, "perplexity"),
        ({"perplexity": 20, "k_neighbors": 15}, "perplexity"),
        ({"affinities": "uniform", "k_neighbors": 200}, "k_neighbors"),
        ({"perplexity": 5, "k_neighbors": 200}, "k_neighbors"),
        ({"k_neighbors": 0}, "k_neighbors"),
        ({"k_neighbors": 2.5}, "k_neighbors"),
    ],
)
def test_affinities_that_cannot_be_are_refused(rows, params, field):
    with pytest.raises(InputError) as caught:
        fc.TSNE(**params).fit(rows)
    assert caught.value.field == field


def test_two_rows_can_be_neighbours_of_each_other():
    points = fc.TSNE(affinities="uniform", k_neighbors=1, max_iter=30, random_state=0).fit_transform(np.eye(2))
    assert np.isfinite(points).all()
