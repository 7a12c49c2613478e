import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import fastclust as fc
from fastclust.errors import BackendError, InputError, InputTypeError, MissingPackageError
from fastclust.neighbors import packages

INDEXES = ["exact", "cells", "flat", "ivf", "hnsw", "nsg", "nndescent", "IVF8,Flat"]


def rows_of(n=800, d=12, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(scale=1.5, size=(10, d))[rng.integers(10, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


def truth(X, metric, k):
    distances = cdist(X.astype(np.float64), X.astype(np.float64), metric)
    np.fill_diagonal(distances, np.inf)
    return np.sort(distances, axis=1)[:, :k]


@pytest.mark.parametrize(
    ("index", "metric"),
    [
        *((index, "euclidean") for index in INDEXES),
        ("exact", "cosine"),
        ("hnsw", "cosine"),
        pytest.param("nndescent", "cosine", marks=pytest.mark.full),
    ],
)
def test_every_index_finds_the_neighbours_and_tells_its_recall(index, metric):
    X = rows_of()
    graph = fc.knn_graph(X, 10, metric, index)
    exact = truth(X, metric, 10)
    found = (graph.distances <= exact[:, -1:] * (1 + 1e-5) + 1e-6).mean()
    assert graph.index_ == index
    assert found >= 0.95
    assert graph.recall == pytest.approx(found, abs=0.03)
    own = cdist(X.astype(float), X.astype(float), metric)[np.arange(len(X))[:, None], graph.indices]
    np.testing.assert_allclose(graph.distances, own, atol=1e-5)
    assert (np.diff(graph.distances, axis=1) >= 0).all()
    assert (graph.indices != np.arange(len(X))[:, None]).all()
    assert all(len(set(row)) == 10 for row in graph.indices.tolist())


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 30), d=st.integers(1, 3), levels=st.integers(1, 3), seed=st.integers(0, 999), data=st.data())
def test_duplicates_never_push_a_row_into_its_own_list(n, d, levels, seed, data):
    X = np.random.default_rng(seed).integers(0, levels, (n, d)).astype(float)
    k = data.draw(st.integers(1, n - 1))
    graph = fc.knn_graph(X, k, index="exact")
    assert (graph.indices != np.arange(n)[:, None]).all()
    np.testing.assert_allclose(graph.distances, truth(X, "euclidean", k), atol=1e-6)


def test_an_offset_does_not_blur_the_exact_graph():
    X = (1000 + 1e-2 * np.random.default_rng(0).normal(size=(300, 8))).astype(np.float32)
    np.testing.assert_allclose(fc.knn_graph(X, 5, index="exact").distances, truth(X, "euclidean", 5), rtol=1e-6)


def test_a_mahalanobis_metric_is_the_euclidean_one_of_mapped_rows():
    X = rows_of(200, 4) * np.array([1, 10, 100, 1], np.float32)
    metric = fc.MahalanobisMetric().fit(X)
    graph = fc.knn_graph(X, 5, metric)
    assert graph.metric == "mahalanobis"
    np.testing.assert_allclose(graph.distances, truth(metric.transform(X), "euclidean", 5), rtol=1e-4)


def test_inner_products_are_largest_first():
    X = rows_of(100, 5)
    graph = fc.knn_graph(X, 4, "inner_product")
    products = X.astype(float) @ X.T.astype(float)
    np.fill_diagonal(products, -np.inf)
    np.testing.assert_allclose(-graph.distances, -np.sort(-products, axis=1)[:, :4], rtol=1e-5)


@pytest.mark.parametrize("index", ["exact", "cells", "ivf", "nndescent"])
def test_the_same_rows_give_the_same_bits(index):
    X = rows_of(1500)
    first, second = (fc.knn_graph(X, 8, index=index) for _ in range(2))
    assert first.indices.tobytes() == second.indices.tobytes()
    assert first.distances.tobytes() == second.distances.tobytes()


def test_a_head_is_a_smaller_graph_and_too_large_a_one_says_what_it_needs():
    X = rows_of(100)
    graph = fc.knn_graph(X, 8)
    assert np.array_equal(graph.head(3).indices, fc.knn_graph(X, 3).indices)
    assert graph.head(3).source is graph.source
    with pytest.raises(InputError, match="n_neighbors=9 or more"):
        graph.head(9)


def test_a_saved_graph_comes_back_without_its_rows(tmp_path):
    graph = fc.knn_graph(rows_of(100), 5)
    graph.save(tmp_path / "g.safetensors")
    loaded = fc.NeighborGraph.load(tmp_path / "g.safetensors")
    assert np.array_equal(loaded.indices, graph.indices)
    assert (loaded.metric, loaded.index_, loaded.recall, loaded.source) == ("euclidean", "exact", 1.0, None)


def test_the_sparse_form_is_scikit_learns():
    from sklearn.neighbors import kneighbors_graph

    X = rows_of(60)
    ours, theirs = fc.knn_graph(X, 4).to_csr(), kneighbors_graph(X, 4, mode="distance")
    assert np.allclose(ours.toarray(), theirs.toarray(), atol=1e-5)


@pytest.mark.parametrize("index", ["exact", "cells", "flat", "hnsw"])
def test_an_index_answers_for_new_rows_and_survives_saving_and_adding(tmp_path, index):
    X, new = rows_of(400), rows_of(30, seed=5)
    fitted = fc.NeighborIndex(index=index).fit(X)
    distances, found = fitted.kneighbors(new, 5)
    exact = np.sort(cdist(new, X), axis=1)[:, :5]
    assert (distances <= exact[:, -1:] * (1 + 1e-5)).mean() > 0.95
    fitted.save(tmp_path / "i.safetensors")
    again = fc.NeighborIndex.load(tmp_path / "i.safetensors")
    assert (again.kneighbors(new, 5, return_distance=False) == found).mean() > 0.95
    more = fitted.add(new)
    assert (more.kneighbors(new, 1, return_distance=False)[:, 0] == np.arange(400, 430)).mean() > 0.95


def test_a_missing_or_doubled_faiss_says_what_to_do(monkeypatch):
    monkeypatch.setattr(packages.metadata, "distribution", lambda name: name)
    with pytest.raises(MissingPackageError, match="pip uninstall -y faiss-cpu faiss-gpu"):
        packages.faiss()
    monkeypatch.undo()
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(MissingPackageError, match=r"fastclust\[cpu\]"):
        fc.knn_graph(rows_of(50), 3, index="flat")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: fc.knn_graph(np.eye(5), 5), InputError, "1..4"),
        (lambda: fc.knn_graph(np.eye(5), 0), InputError, "n_neighbors"),
        (lambda: fc.knn_graph(np.eye(5), 2.0), InputError, "integer"),
        (lambda: fc.knn_graph(np.full((5, 2), np.nan), 2), InputError, "row 0, column 0"),
        (lambda: fc.knn_graph(np.eye(5), 2, "manhattan"), InputError, "metric"),
        (lambda: fc.knn_graph(np.zeros((5, 2)), 2, "cosine"), InputError, "row of zeros"),
        (lambda: fc.knn_graph(np.array([["a"]]), 1), InputTypeError, "dtype"),
        (lambda: fc.knn_graph(rows_of(50), 2, index="Nonsense9"), BackendError, "Nonsense9"),
        (lambda: fc.NeighborIndex(backend="gpu").fit(np.eye(3)), BackendError, "gpu"),
        (lambda: fc.NeighborIndex().fit(np.eye(3)).kneighbors(np.eye(2), 1), InputError, "2 columns"),
        (lambda: fc.NeighborIndex().fit(np.eye(3)).kneighbors(np.eye(3), 4), InputError, "1..3"),
    ],
)
def test_bad_requests_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_pynndescent_has_no_inner_products():
    with pytest.raises(BackendError, match="nndescent"):
        fc.knn_graph(rows_of(30), 3, "inner_product", "nndescent")
