"""Our side of pynndescent, which compiles for a minute: what is asked of it, and what is made of its answers.

The package itself is searched with in ``make test-full`` (``test_graph.py``).
"""

import ast
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import fastclust as fc
from fastclust.errors import BackendError
from fastclust.neighbors import engines


class Descent:
    """Stands in for ``pynndescent.NNDescent``: all distances, and each row among its own neighbours."""

    def __init__(self, data, *, n_neighbors, random_state, n_jobs):
        self.data, self.n_neighbors, self.fixed = data, n_neighbors, (random_state, n_jobs)
        made.append(self)

    def query(self, query_data, k=10):
        distances = cdist(query_data.astype(np.float64), self.data.astype(np.float64))
        order = np.argsort(distances, axis=1, kind="stable")[:, :k].astype(np.int32)
        return order, np.take_along_axis(distances, order, 1).astype(np.float32)

    @property
    def neighbor_graph(self):
        return self.query(self.data, self.n_neighbors)


made = []


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch):
    made.clear()
    monkeypatch.setattr(engines, "pynndescent", lambda: SimpleNamespace(NNDescent=Descent))


def rows(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)


@pytest.mark.parametrize("k", [3, 40])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_graph_is_of_other_rows_with_distances_of_our_own(metric, k):
    X = rows(120)
    graph = fc.knn_graph(X, k, metric, "nndescent")
    distances = cdist(X.astype(np.float64), X.astype(np.float64), metric)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(graph.distances, np.sort(distances, axis=1)[:, :k], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(distances, graph.indices, 1), graph.distances, atol=1e-5)
    assert (graph.index_, graph.recall) == ("nndescent", 1.0)
    (asked,) = made
    assert asked.n_neighbors >= k
    assert asked.fixed[0] is not None
    assert asked.fixed[1] == 1


def test_new_rows_are_searched_for():
    X, new = rows(120), rows(9, seed=1)
    distances, found = fc.NeighborIndex(index="nndescent").fit(X).kneighbors(new, 4)
    exact = cdist(new.astype(np.float64), X.astype(np.float64))
    assert np.array_equal(found, np.argsort(exact, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(exact, axis=1)[:, :4], atol=1e-5)


def test_inner_products_are_refused():
    with pytest.raises(BackendError, match="nndescent"):
        fc.knn_graph(rows(30), 3, "inner_product", "nndescent")


def test_the_package_that_is_installed_takes_and_has_what_is_asked_for():
    """Read and not imported: the import alone compiles for most of the minute."""
    source = next(file for file in metadata.files("pynndescent") if file.name == "pynndescent_.py")
    tree = ast.parse(source.locate().read_text("utf-8"))
    body = next(one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == "NNDescent").body
    names = {
        one.name: [each.arg for each in one.args.args + one.args.kwonlyargs]
        for one in body
        if isinstance(one, ast.FunctionDef)
    }
    assert {"data", "n_neighbors", "random_state", "n_jobs"} <= set(names["__init__"])
    assert {"query_data", "k"} <= set(names["query"])
    assert "neighbor_graph" in names
