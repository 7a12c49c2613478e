"""Eigenvectors by way of coarser graphs, against the dense eigensolver."""

import numba
import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

import fastclust as fc
from fastclust.cluster import multilevel, spectral, subspace
from fastclust.cluster.multilevel import leading_by_levels
from fastclust.errors import OperationCancelledError, PreconditionError
from fastclust.neighbors.affinity import affinity


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let some hundred rows have coarser graphs, and many blocks."""
    monkeypatch.setattr(multilevel, "_COARSE", 100)
    monkeypatch.setattr(multilevel, "_MOST", 400)
    monkeypatch.setattr(subspace, "_ROWS", 128)


def silent():
    pass


def digits_graph(n):
    graph = fc.knn_graph(load_digits(return_X_y=True)[0][:n].astype(np.float32), 10, metric="cosine", index="exact")
    return affinity(graph.indices, 1 - graph.distances.astype(np.float64), exponent=3.0, mutual=False)


def path(n):
    weights = np.ones(n - 1)
    return sparse.diags([weights, weights], [-1, 1], format="csr")


def ring(n, beside):
    """Each row and those at both sides, all alike: every choice is a tie, every eigenvalue double."""
    steps = np.arange(1, beside + 1)
    rows, columns = np.repeat(np.arange(n), beside), (np.arange(n)[:, None] + steps).ravel() % n
    half = sparse.csr_matrix((np.ones(n * beside), (rows, columns)), shape=(n, n))
    return apart(half + half.T)


def star(leaves):
    hub = sparse.csr_matrix(np.ones((1, leaves)))
    return sparse.bmat([[None, hub], [hub.T, None]], format="csr")


def apart(*graphs):
    """One graph of all, its rows shuffled."""
    whole = sparse.block_diag(graphs, format="csr")
    order = np.random.default_rng(0).permutation(whole.shape[0])
    return whole[order][:, order].tocsr()


def dense_pairs(graph, known, wanted):
    scale = 1 / np.sqrt(np.asarray(graph.sum(axis=1)).ravel())
    values, vectors = np.linalg.eigh(scale[:, None] * graph.toarray() * scale)
    return values[::-1][known:][:wanted], vectors[:, ::-1][:, : known + wanted]


GRAPHS = {
    "digits": lambda: digits_graph(1797),
    "components": lambda: apart(digits_graph(900), digits_graph(400), path(50), path(7)),
    "path": lambda: path(1500),
    "ring": lambda: ring(2000, 4),
    "cliques": lambda: apart(*[sparse.csr_matrix(np.ones((6, 6)) - np.eye(6))] * 150, digits_graph(600)),
    "star": lambda: apart(star(600), digits_graph(300)),
    "pairs": lambda: apart(*[path(2)] * 3, digits_graph(1000)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_values_and_vectors_are_those_of_the_dense_eigensolver(name):
    graph = GRAPHS[name]()
    known, component = connected_components(graph, directed=False)
    values, vectors = leading_by_levels(graph, component, 12, seed=0, tick=silent)
    wanted, basis = dense_pairs(graph, known, 13)
    wanted, next_one = wanted[:12], wanted[12]
    np.testing.assert_allclose(1 - values, 1 - wanted, rtol=0.02, atol=1e-7)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(12), atol=1e-4)
    scale = 1 / np.sqrt(np.asarray(graph.sum(axis=1)).ravel())
    transition = sparse.diags(scale) @ graph @ sparse.diags(scale)
    assert np.linalg.norm(transition @ vectors - vectors * values, axis=0).max() < 1.5e-4
    # None of them is a component's own vector, of value 1.
    ones = np.zeros((len(scale), known))
    ones[np.arange(len(scale)), component] = 1 / scale
    assert np.abs((ones / np.linalg.norm(ones, axis=0)).T @ vectors).max() < 1e-4
    if wanted[-1] - next_one > 1e-5:  # the space is the same too
        assert np.linalg.svd(basis[:, known : known + 12].T @ vectors)[1].min() > 0.99


def test_joined_rows_are_paths_of_strongest_neighbours():
    graph = digits_graph(500)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    level = multilevel._Level(graph, degree, np.zeros(500, np.int32))
    count, joined = multilevel._joined(level, 0)
    strength = graph.toarray() / degree
    edges = sparse.csr_matrix((np.ones(500), (np.arange(500), strength.argmax(axis=1))), shape=(500, 500))
    expected = connected_components(edges, directed=False)
    assert count == expected[0] <= 250
    assert adjusted_rand_score(joined, expected[1]) == 1.0
    coarser = multilevel._coarser(level, joined)
    member = np.eye(count)[joined]
    np.testing.assert_allclose(coarser.graph.toarray(), member.T @ graph.toarray() @ member)
    np.testing.assert_allclose(coarser.degree, member.T @ degree)


def test_the_number_of_threads_does_not_show():
    graph = digits_graph(1797)
    component = np.zeros(1797, np.int32)
    bits, before = [], numba.get_num_threads()
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            bits.append(leading_by_levels(graph, component, 8, seed=0, tick=silent)[1].tobytes())
    finally:
        numba.set_num_threads(before)
    assert bits[0] == bits[1]


def test_more_components_than_are_solved_densely_come_to_an_end():
    graph = apart(*[sparse.csr_matrix(np.ones((5, 5)) - np.eye(5))] * 450, path(40))
    _, component = connected_components(graph, directed=False)
    values, _ = leading_by_levels(graph, component, 3, seed=0, tick=silent)
    np.testing.assert_allclose(values, np.cos(np.arange(1, 4) * np.pi / 39), atol=1e-5)


def test_what_does_not_converge_is_an_error(monkeypatch):
    monkeypatch.setattr(multilevel, "_ROUNDS", 0)
    with pytest.raises(PreconditionError, match="did not converge"):
        leading_by_levels(digits_graph(1797), np.zeros(1797, np.int32), 8, seed=0, tick=silent)


def test_it_can_be_cancelled():
    left = iter(range(20))

    def tick():
        if next(left, None) is None:
            raise OperationCancelledError("asked to stop")

    with pytest.raises(OperationCancelledError):
        leading_by_levels(digits_graph(1797), np.zeros(1797, np.int32), 8, seed=0, tick=tick)


@pytest.mark.parametrize("damping", [0.0, 0.95])
def test_clusters_are_those_of_lanczos(monkeypatch, damping):
    X = load_digits(return_X_y=True)[0].astype(np.float32)
    lanczos = fc.ManifoldKMeans(10, damping=damping, random_state=0).fit(X)
    monkeypatch.setattr(spectral, "_MANY", 1000)
    levels = fc.ManifoldKMeans(10, damping=damping, random_state=0).fit(X)
    np.testing.assert_allclose(levels.eigenvalues_, lanczos.eigenvalues_, atol=1e-6)
    assert adjusted_rand_score(levels.labels_, lanczos.labels_) > 0.99
    assert adjusted_rand_score(levels.predict(X), levels.labels_) > 0.95
