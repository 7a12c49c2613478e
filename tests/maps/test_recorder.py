"""Frames for an animation, and the divergence on request."""

import numpy as np
import pytest

import fastclust as fc
from fastclust.errors import BackendError, InputError
from fastclust_kernels.tsne import reference

X = np.random.default_rng(0).normal(size=(120, 4))


def test_frames_are_the_map_on_its_way():
    seen = {}

    def keep(iteration, divergence, points):
        seen[iteration] = points.copy()

    model = fc.TSNE(perplexity=10, max_iter=40, frames=5, callbacks=keep, callbacks_every_iters=10, random_state=0).fit(
        X
    )
    assert model.frame_iterations_.tolist() == [0, 10, 20, 30, 40]
    assert model.frames_.shape == (5, 120, 2)
    assert model.frames_.dtype == np.float32
    for frame, iteration in zip(model.frames_[1:], seen, strict=True):
        assert np.array_equal(frame, seen[iteration])
    assert np.array_equal(model.frames_[-1], model.embedding_)
    start = fc.TSNE(perplexity=10, max_iter=0, random_state=0).fit_transform(X)
    assert np.array_equal(model.frames_[0], start)


def test_more_frames_than_iterations_are_all_there_are():
    model = fc.TSNE(perplexity=10, max_iter=3, frames=100, random_state=0).fit(X)
    assert model.frame_iterations_.tolist() == [0, 1, 2, 3]


def test_the_divergence_is_kept_where_wanted():
    from fastclust.maps.affinities import affinities_of

    model = fc.TSNE(perplexity=10, max_iter=25, divergence_every=10, frames=2, random_state=0)
    graph = fc.knn_graph(X, 30)
    model.fit(graph)
    assert model.divergences_[:, 0].tolist() == [0, 10, 20, 25]
    assert model.divergences_[-1, 1] == model.kl_divergence_
    expected = reference.divergence(affinities_of(model, graph), model.frames_[0])
    assert model.divergences_[0, 1] == pytest.approx(expected, rel=1e-4)


def test_nothing_is_kept_unless_wanted():
    model = fc.TSNE(perplexity=10, max_iter=5).fit(X)
    assert model.frames_ is None
    assert model.frame_iterations_.shape == (0,)
    assert model.divergences_.shape == (0, 2)


def test_looking_changes_no_bit():
    params = {"perplexity": 10, "max_iter": 30, "random_state": 0}
    plain = fc.TSNE(**params).fit_transform(X)
    assert np.array_equal(fc.TSNE(frames=7, divergence_every=3, **params).fit_transform(X), plain)


@pytest.mark.parametrize("params", [{"frames": 1}, {"frames": 2.0}, {"divergence_every": 0}])
def test_numbers_that_cannot_be_are_refused(params):
    with pytest.raises(InputError, match=next(iter(params))):
        fc.TSNE(perplexity=10, **params).fit(X)


@pytest.mark.parametrize("params", [{"frames": 2}, {"divergence_every": 5}])
def test_opentsnes_optimiser_cannot_be_looked_at(params):
    with pytest.raises(BackendError, match=next(iter(params))):
        fc.TSNE(perplexity=10, backend="opentsne", **params).fit(X)
