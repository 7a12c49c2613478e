import numpy as np
import pytest
from sklearn.datasets import load_digits

import fastclust as fc
from fastclust import evaluation
from fastclust.errors import BackendError, InputError, OperationCancelledError, PreconditionError
from fastclust.maps import tsne
from fastclust.progress import listening


@pytest.fixture(scope="module")
def digits():
    X, labels = load_digits(return_X_y=True)
    return X[:500], labels[:500]


@pytest.fixture(scope="module")
def fitted(digits):
    return fc.TSNE(perplexity=20, max_iter=400, random_state=0).fit(digits[0])


def test_the_divergence_is_opentsnes_own(digits, fitted):
    """openTSNE, asked itself, for the same rows, start and schedule."""
    from openTSNE import TSNE

    theirs = TSNE(
        perplexity=20, n_iter=150, early_exaggeration_iter=250, random_state=0, neighbors="exact", n_jobs=1
    ).fit(digits[0])
    assert fitted.kl_divergence_ <= 1.03 * theirs.kl_divergence
    assert (fitted.backend_, fitted.initialization_, fitted.n_iter_) == ("cpu", "pca", 400)


def test_the_map_keeps_neighbours_and_labels_together(digits, fitted):
    X, labels = digits
    assert fitted.embedding_.dtype == np.float32
    assert evaluation.recall_at_k(fitted.embedding_, labels, metric="euclidean") > 0.93
    assert evaluation.trustworthiness(X, fitted.embedding_) > 0.97


def test_the_same_seed_gives_the_same_bits(digits):
    maps = [fc.TSNE(perplexity=10, max_iter=60, random_state=1).fit_transform(digits[0][:200]) for _ in range(2)]
    assert maps[0].tobytes() == maps[1].tobytes()


def test_a_graph_in_place_of_rows_gives_the_same_map(digits):
    X = digits[0][:200]
    params = {"perplexity": 10, "max_iter": 40, "random_state": 1}
    direct = fc.TSNE(**params).fit_transform(X)
    assert np.array_equal(fc.TSNE(**params).fit_transform(fc.knn_graph(X, 50)), direct)
    with pytest.raises(InputError, match="n_neighbors=30 or more"):
        fc.TSNE(**params).fit(fc.knn_graph(X, 20))


def test_new_rows_are_placed_and_the_fit_does_not_move(digits, fitted):
    X, labels = digits
    before = {name: np.array(value).tobytes() for name, value in vars(fitted).items() if isinstance(value, np.ndarray)}
    assert {"embedding_", "_source"} <= set(before)
    placed = fitted.transform(X[:50] + 0.01)
    assert all(vars(fitted)[name].tobytes() == value for name, value in before.items())
    assert np.array_equal(fitted.transform(X[:50] + 0.01), placed)
    assert placed.shape == (50, 2)
    near = np.linalg.norm(placed[:, None] - fitted.embedding_[None], axis=2).argmin(axis=1)
    assert (labels[near] == labels[:50]).mean() > 0.95


def test_new_rows_are_searched_by_an_index_only_where_that_pays(digits, fitted, monkeypatch):
    asked = []

    class Index(fc.NeighborIndex):
        def __init__(self, metric, index):
            asked.append(index)
            super().__init__(metric, index)

    monkeypatch.setattr(tsne, "NeighborIndex", Index)
    exact = fitted.transform(digits[0][:50] + 0.01)
    monkeypatch.setattr(tsne, "_MANY", 100)
    assert np.array_equal(fitted.transform(digits[0][:50] + 0.01), exact)
    monkeypatch.setattr(tsne, "_MANY_NEW", 20)
    placed = fitted.transform(digits[0][:50] + 0.01)
    assert asked == ["exact", "exact", "cells"]
    assert np.isclose(placed, exact).all(axis=1).mean() > 0.9


def test_a_map_from_a_loaded_graph_cannot_place_new_rows(digits, tmp_path):
    fc.knn_graph(digits[0][:100], 30).save(tmp_path / "g.safetensors")
    graph = fc.NeighborGraph.load(tmp_path / "g.safetensors")
    model = fc.TSNE(perplexity=10, max_iter=10, random_state=0).fit(graph)
    assert model.initialization_ == "spectral"
    with pytest.raises(PreconditionError):
        model.transform(digits[0][:3])


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_one_two_and_three_dimensions(digits, n_components):
    points = fc.TSNE(n_components, perplexity=5, max_iter=20, random_state=0).fit_transform(digits[0][:60])
    assert points.shape == (60, n_components)
    assert np.isfinite(points).all()


@pytest.mark.parametrize("initialization", ["pca", "spectral", "random", "array"])
def test_each_start_works_and_is_recorded(digits, initialization):
    start = np.random.default_rng(0).normal(size=(80, 2)) if initialization == "array" else initialization
    model = fc.TSNE(perplexity=5, max_iter=10, initialization=start, random_state=0).fit(digits[0][:80])
    assert model.initialization_ == initialization


@pytest.mark.parametrize("n", [4, 7, 20, 50])
def test_small_sets_work_with_a_small_perplexity(n):
    X = np.random.default_rng(n).normal(size=(n, 3))
    points = fc.TSNE(perplexity=1, max_iter=30, random_state=0).fit_transform(X)
    assert np.isfinite(points).all()


def test_duplicates_and_constant_columns_work():
    X = np.repeat(np.random.default_rng(0).normal(size=(12, 3)), 8, axis=0)
    X[:, 1] = 5
    points = fc.TSNE(perplexity=5, max_iter=60, random_state=0).fit_transform(X)
    assert np.isfinite(points).all()
    assert np.isfinite(fc.TSNE(perplexity=5, max_iter=30, random_state=0).fit_transform(np.ones((40, 3)))).all()


def test_a_callback_hears_and_may_stop(digits):
    heard = []

    def callback(iteration, divergence, points):
        heard.append((iteration, divergence, points.shape))
        return iteration >= 20

    fc.TSNE(perplexity=5, max_iter=500, callbacks=callback, random_state=0).fit(digits[0][:100])
    assert heard[-1][0] < 60
    assert heard[0][2] == (100, 2)


def test_a_listener_that_raises_stops_the_work(digits):
    def stop(progress):
        if progress.step == "tsne":
            raise OperationCancelledError("asked to stop")

    with listening(stop), pytest.raises(OperationCancelledError):
        fc.TSNE(perplexity=5, random_state=0).fit(digits[0][:100])


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"perplexity": 40}, "perplexity"),
        ({"perplexity": float("nan")}, "perplexity"),
        ({"n_components": 4}, "n_components"),
        ({"max_iter": -1}, "max_iter"),
        ({"early_exaggeration_iter": 1.5}, "early_exaggeration_iter"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"early_exaggeration": "much"}, "early_exaggeration"),
        ({"initialization": np.zeros((3, 2))}, "initialization"),
        ({"initialization": "umap"}, "initialization"),
    ],
)
def test_bad_parameters_are_named(params, field):
    with pytest.raises(InputError) as caught:
        fc.TSNE(**{"perplexity": 5, **params}).fit(np.random.default_rng(0).normal(size=(60, 3)))
    assert caught.value.field == field


def test_a_backend_that_is_not_there_is_refused():
    with pytest.raises(BackendError, match="Allowed: auto, cpu, gpu, opentsne"):
        fc.TSNE(backend="cuda").fit(np.eye(10))


@pytest.mark.parametrize("X", [np.full((60, 2), np.nan), np.zeros((1, 2)), np.zeros((3, 2))])
def test_rows_that_cannot_be_mapped_are_refused(X):
    with pytest.raises(InputError):
        fc.TSNE(perplexity=5).fit(X)
