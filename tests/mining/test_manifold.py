"""Mining against dense solves, and its pools against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

import fastclust as fc
from fastclust.errors import InputError, InputTypeError, OperationCancelledError
from fastclust.mining import manifold_similarity
from fastclust.mining.anchors import degree_maxima
from fastclust.mining.diffusion import inverse
from fastclust.neighbors.affinity import affinity, normalised
from fastclust.progress import listening


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X = X[:400].astype(np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True), y[:400]


def dense_affinity(X, k, *, mutual):
    X = X.astype(np.float64)
    cosine = X @ X.T / np.outer(np.linalg.norm(X, axis=1), np.linalg.norm(X, axis=1))
    np.fill_diagonal(cosine, -2)
    near = np.zeros(cosine.shape, bool)
    for i, row in enumerate(cosine):
        near[i, np.argsort(-row, kind="stable")[:k]] = True
    keep = near & near.T if mutual else near | near.T
    return np.where(keep, np.maximum(cosine, 0) ** 3, 0), cosine


def dense_similarity(A, alpha=0.99):
    degree = A.sum(1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0)
    return np.linalg.inv(np.eye(len(A)) - alpha * scale[:, None] * A * scale[None, :])


@pytest.mark.parametrize("mutual", [True, False])
def test_affinity_is_the_formula(digits, mutual):
    graph = fc.knn_graph(digits[0], n_neighbors=12, metric="cosine")
    found = affinity(graph.indices, 1 - graph.distances.astype(np.float64), exponent=3.0, mutual=mutual)
    expected, _ = dense_affinity(digits[0], 12, mutual=mutual)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-5)
    assert abs(found - found.T).nnz == 0
    assert not found.diagonal().any()


@settings(deadline=None, max_examples=15)
@given(st.integers(3, 40), st.integers(1, 6), st.integers(0, 2**31))
def test_conjugate_gradients_reach_the_dense_solve(n, k, seed):
    X = np.random.default_rng(seed).normal(size=(n, 4))
    A, _ = dense_affinity(X, min(k, n - 1), mutual=True)
    from scipy.sparse import csr_matrix

    anchors = np.arange(n)
    found = manifold_similarity(normalised(csr_matrix(A)), anchors, alpha=0.99, iterations=400, tolerance=1e-12)
    np.testing.assert_allclose(found, dense_similarity(A), rtol=1e-6, atol=1e-6)


def test_converged_pools_are_those_of_the_dense_solve(digits):
    X, _ = digits
    pools = fc.mine_manifold(X, k_positive=20, k_negative=30, n_neighbors=12, iterations=300, tolerance=1e-10)
    A, cosine = dense_affinity(X, 12, mutual=True)
    F = dense_similarity(A)
    np.fill_diagonal(F, 0)
    # Rows in other components are exactly 0 in truth and about 1e-18 in an inverse.
    F[F < 1e-12] = 0
    differing = 0
    for i, anchor in enumerate(pools.anchors):
        top = [j for j in np.argsort(-F[anchor], kind="stable") if F[anchor, j] > 0]
        near = list(np.argsort(-cosine[anchor], kind="stable"))
        positive = [j for j in top[:20] if j not in near[:20]]
        negative = [j for j in near[:30] if j not in top[:30]]
        differing += set(positive) != set(pools.positives[i]) or set(negative) != set(pools.negatives[i])
    assert len(pools.anchors) > 200
    # The graph's cosines are float32: a rank may turn where two lie within rounding of each other.
    assert differing <= len(pools.anchors) // 50
    assert len(pools.anchors) + pools.n_dropped == len(X)


def test_twenty_iterations_find_nearly_the_same_neighbours(digits):
    A, _ = dense_affinity(digits[0], 15, mutual=True)
    from scipy.sparse import csr_matrix

    found = manifold_similarity(normalised(csr_matrix(A)), np.arange(len(A)), alpha=0.99, iterations=20)
    true = dense_similarity(A)
    overlap = [
        len(set(np.argsort(-found[:, i])[:20]) & set(np.argsort(-true[i])[:20])) / 20 for i in range(0, len(A), 7)
    ]
    assert np.mean(overlap) > 0.95


def test_similarity_of_few_rows_is_exact_unless_iterations_are_asked_for(digits):
    from scipy.sparse import block_diag, csr_matrix

    # Two parts that nothing joins, of 300 rows in all: more than are mirrored at once.
    parts = [dense_affinity(digits[0][first : first + 150], 12, mutual=True)[0] for first in (0, 150)]
    S, true = normalised(csr_matrix(block_diag(parts))), dense_similarity(block_diag(parts).toarray())
    found = inverse(S, 0.99)
    np.testing.assert_allclose(found, true, rtol=1e-9, atol=1e-12)
    assert not found[:150, 150:].any()
    assert np.array_equal(found, found.T)
    for anchors, exact in ((np.arange(300), True), (np.arange(75), True), (np.arange(74), False)):
        similar = manifold_similarity(S, anchors, alpha=0.99, iterations="auto")
        assert np.allclose(similar, true[:, anchors], rtol=1e-9, atol=1e-12) == exact
    twenty = manifold_similarity(S, np.arange(300), alpha=0.99, iterations=20)
    assert np.abs(twenty - true).max() > 1e-3
    with pytest.raises(InputError, match="definite"):
        inverse(csr_matrix(np.full((4, 4), 2.0)), 0.99)


def test_mining_is_exact_where_it_is_quick_and_obeys(digits):
    options = {"k_positive": 20, "k_negative": 30, "n_neighbors": 12}
    auto, long, short = (
        fc.mine_manifold(digits[0], **options, iterations=iterations) for iterations in ("auto", 400, 5)
    )
    assert np.array_equal(auto.anchors, long.anchors)
    assert np.array_equal(auto.positives.values, long.positives.values)
    assert np.array_equal(auto.negatives.values, long.negatives.values)
    np.testing.assert_allclose(auto.weights.values, long.weights.values, rtol=1e-6)
    assert not np.array_equal(auto.positives.values, short.positives.values)
    with pytest.raises(InputError, match="iterations"):
        fc.mine_manifold(digits[0], iterations="many")


def test_pools_keep_their_promises(digits):
    X, y = digits
    pools = fc.mine_manifold(X, k_positive=30, k_negative=50, n_neighbors=15, pool_size=12)
    near = fc.knn_graph(X, n_neighbors=50, metric="cosine").indices
    for i, anchor in enumerate(pools.anchors):
        positive, negative, weight = pools.positives[i], pools.negatives[i], pools.weights[i]
        assert 0 < len(positive) <= 12
        assert 0 < len(negative) <= 12
        assert not set(positive) & set(near[anchor, :30])
        assert set(negative) <= set(near[anchor])
        assert not set(positive) & set(negative)
        assert anchor not in positive
        assert anchor not in negative
        assert len(weight) == len(positive)
        assert (np.diff(weight) <= 0).all()
        assert 0 < weight.min() <= weight.max() <= 1
    purity = pools.purity(y)
    assert purity["positives"] > 0.7
    unknown = pools.purity(np.full(len(y), -1))
    assert np.isnan(unknown["positives"])


def test_a_graph_serves_as_well_as_its_rows(digits):
    X, _ = digits
    options = {"k_positive": 20, "k_negative": 30, "n_neighbors": 15}
    from_rows = fc.mine_manifold(X, **options)
    for graph in (fc.knn_graph(X, 40, "cosine"), fc.knn_graph(X, 15, "cosine")):
        found = fc.mine_manifold(graph, **options)
        assert np.mean(np.isin(found.anchors, from_rows.anchors)) > 0.98
        assert abs(len(found.positives.values) - len(from_rows.positives.values)) < 20
    assert len(fc.mine_manifold(fc.knn_graph(X, 40, "euclidean"), **options).anchors) > 0


def test_anchors_of_large_sets_are_peaks_of_degree(digits):
    pools = fc.mine_manifold(digits[0], k_positive=20, k_negative=30, anchors="maxima")
    assert 0 < len(pools.anchors) + pools.n_dropped < 100
    A, _ = dense_affinity(digits[0], 30, mutual=True)
    from scipy.sparse import csr_matrix

    peaks = degree_maxima(csr_matrix(A), 1000)
    degree = A.sum(1)
    assert len(peaks)
    for peak in peaks:
        assert (degree[peak] > degree[A[peak] > 0]).all()
    assert len(degree_maxima(csr_matrix(A), 2)) == 2


def test_rows_without_mutual_neighbours_are_dropped_and_counted():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(60, 6)) * 0.1 + np.eye(6)[0], rng.normal(size=(60, 6)) * 0.1 + np.eye(6)[1]])
    pools = fc.mine_manifold(X, k_positive=5, k_negative=10, n_neighbors=3)
    assert pools.n_dropped > 0
    assert pools.n_dropped + len(pools.anchors) == 120


@pytest.mark.parametrize(
    ("X", "options", "field"),
    [
        (np.full((200, 3), np.nan), {}, "graph_or_X"),
        (np.empty((0, 3)), {}, "graph_or_X"),
        (np.ones(5), {}, "graph_or_X"),
        (np.eye(50), {}, "k_positive or k_negative"),
        (np.eye(200), {"n_neighbors": 0}, "n_neighbors"),
        (np.eye(200), {"alpha": 1.0}, "alpha"),
        (np.eye(200), {"anchors": "some"}, "anchors"),
        (np.eye(200), {"anchors": np.array([200])}, "anchors"),
    ],
)
def test_bad_input_is_named(X, options, field):
    with pytest.raises(InputError) as caught:
        fc.mine_manifold(X, **options)
    assert caught.value.field == field


def test_text_is_no_matrix():
    with pytest.raises(InputTypeError):
        fc.mine_manifold(np.array([["a", "b"]] * 200))


def test_a_narrow_graph_without_rows_is_refused(digits, tmp_path):
    path = tmp_path / "graph.safetensors"
    fc.knn_graph(digits[0], 30, "cosine").save(path)
    with pytest.raises(InputError, match="100"):
        fc.mine_manifold(fc.NeighborGraph.load(path))


def test_mining_can_be_cancelled(digits):
    def stop(progress):
        if progress.step == "mine":
            raise OperationCancelledError("enough")

    with listening(stop), pytest.raises(OperationCancelledError):
        fc.mine_manifold(digits[0])
