"""k-means on the manifold, against a dense eigensolver and scikit-learn's spectral clustering."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import ArpackNoConvergence
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.cluster import SpectralClustering
from sklearn.datasets import load_digits, make_moons
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import check_estimator

import fastclust as fc
from fastclust.cluster.spectral import leading, spectrum_of
from fastclust.errors import InputError, InputTypeError, OperationCancelledError, PreconditionError
from fastclust.progress import listening


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X.astype(np.float32), y


def dense(X, k, exponent=3.0):
    """Affinity of the union graph, by a full table of cosines."""
    unit = X.astype(np.float64) / np.linalg.norm(X.astype(np.float64), axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    near = np.zeros(cosine.shape, bool)
    np.put_along_axis(near, np.argsort(-cosine, axis=1, kind="stable")[:, :k], values=True, axis=1)
    return np.where(near | near.T, np.maximum(cosine, 0) ** exponent, 0)


def dense_vectors(A, p):
    scale = 1 / np.sqrt(A.sum(1))
    values, vectors = np.linalg.eigh(scale[:, None] * A * scale[None, :])
    return values[::-1][:p], vectors[:, ::-1][:, :p]


def silent():
    pass


@pytest.mark.parametrize(("n", "damping"), [(300, 0.0), (1000, 0.0), (1000, 0.9)])
def test_the_embedding_is_that_of_the_dense_eigensolver(digits, n, damping):
    """300 rows go through the dense solver, 1,000 through Lanczos."""
    X = digits[0][:n]
    model = fc.ManifoldKMeans(6, n_components=6, damping=damping, random_state=0).fit(X)
    values, vectors = dense_vectors(dense(X, 15), 6)
    assert model.n_placed_ == 0
    np.testing.assert_allclose(model.eigenvalues_, values, atol=1e-6)
    vectors = vectors / (1 - damping * values)
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    # Eigenvectors are free in sign: what k-means sees are the inner products.
    np.testing.assert_allclose(model.embedding_ @ model.embedding_.T, rows @ rows.T, atol=2e-3)


def test_labels_agree_with_scikit_learns_spectral_clustering(digits):
    X, y = digits
    ours = fc.ManifoldKMeans(10, damping=0, random_state=0).fit(X)
    theirs = SpectralClustering(10, affinity="precomputed", random_state=0).fit(dense(X, 15))
    assert adjusted_rand_score(ours.labels_, theirs.labels_) > 0.8
    plain = SklearnKMeans(10, n_init=5, random_state=0).fit(X)
    assert adjusted_rand_score(y, ours.labels_) > adjusted_rand_score(y, plain.labels_) + 0.1


def test_new_rows_are_placed_by_the_nystrom_formula(digits):
    X, new = digits[0][:900], digits[0][900:1000]
    model = fc.ManifoldKMeans(8, n_neighbors=10, n_components=8, damping=0.9, random_state=0).fit(X)
    A = dense(X, 10)
    values, vectors = dense_vectors(A, 8)
    weights = 1 / (1 - 0.9 * values)
    unit, other = (item.astype(np.float64) / np.linalg.norm(item, axis=1, keepdims=True) for item in (X, new))
    expected = []
    for row in other @ unit.T:
        near = np.argsort(-row)[:10]
        a = np.zeros(900)
        a[near] = row[near] ** 3
        u = (a / np.sqrt(a.sum() * A.sum(1))) @ vectors / values * weights
        expected.append(u / np.linalg.norm(u))
    expected = np.array(expected)
    found = model.coordinates(new)
    vectors = vectors * weights
    own = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(found @ model.embedding_.T, expected @ own.T, atol=2e-3)
    assert np.mean(model.predict(X) == model.labels_) > 0.97


def test_with_all_eigenvectors_rows_are_compared_by_their_manifold_similarity(digits):
    X = digits[0][:200]
    model = fc.ManifoldKMeans(5, n_components=200, damping=0.9, random_state=0).fit(X)
    A = dense(X, 15)
    scale = 1 / np.sqrt(A.sum(1))
    similar = np.linalg.inv(np.eye(200) - 0.9 * scale[:, None] * A * scale[None, :])
    similar /= np.linalg.norm(similar, axis=1, keepdims=True)
    np.testing.assert_allclose(model.embedding_ @ model.embedding_.T, similar @ similar.T, atol=1e-6)
    assert fc.ManifoldKMeans(5, damping=0.9, random_state=0).fit(X).embedding_.shape == (200, 15)


def test_moons_that_k_means_cannot_part():
    X, y = make_moons(600, noise=0.03, random_state=0)
    X = np.c_[X, np.full(600, 2.0)]  # directions now tell rows apart
    labels = fc.ManifoldKMeans(2, n_neighbors=10, random_state=0).fit_predict(X)
    assert adjusted_rand_score(y, labels) > 0.95


def test_rows_of_tiny_components_are_placed_and_counted():
    rng = np.random.default_rng(0)
    blobs = [rng.normal(size=(n, 6)) * 0.05 + np.eye(6)[i] for i, n in enumerate((200, 200, 4))]
    blobs[2] += 0.4 * np.eye(6)[1]
    X = np.vstack(blobs)
    model = fc.ManifoldKMeans(2, n_neighbors=3, random_state=0).fit(X)
    assert model.n_placed_ >= 4
    assert len(set(model.labels_[:200])) == 1
    assert set(model.labels_[400:]) == set(model.labels_[200:400])
    assert np.isfinite(model.embedding_).all()


def test_a_graph_serves_as_its_rows_do(digits):
    X = digits[0][:700]
    options = {"n_clusters": 7, "random_state": 0}
    from_rows = fc.ManifoldKMeans(**options).fit(X)
    from_graph = fc.ManifoldKMeans(**options).fit(fc.knn_graph(X, 30, "cosine"))
    assert np.array_equal(from_rows.labels_, from_graph.labels_)
    assert np.array_equal(from_graph.predict(X[:50]), from_rows.predict(X[:50]))
    with pytest.raises(InputError, match="metric"):
        fc.ManifoldKMeans(**options).fit(fc.knn_graph(X, 15, "inner_product"))
    with pytest.raises(InputError, match="n_neighbors=15"):
        fc.ManifoldKMeans(**options).fit(fc.knn_graph(X, 5, "cosine"))


def test_a_saved_model_predicts_as_before(digits, tmp_path):
    X = digits[0][:600]
    model = fc.ManifoldKMeans(6, random_state=0).fit(X)
    model.save(tmp_path / "m.safetensors")
    loaded = fc.ManifoldKMeans.load(tmp_path / "m.safetensors")
    assert np.array_equal(loaded.predict(digits[0][600:]), model.predict(digits[0][600:]))
    assert np.array_equal(loaded.labels_, model.labels_)
    assert loaded.get_params() == {**model.get_params(), "random_state": None}


def test_the_same_seed_gives_the_same_bits(digits):
    first, second = (fc.ManifoldKMeans(10, random_state=3).fit(digits[0]) for _ in range(2))
    assert first.embedding_.tobytes() == second.embedding_.tobytes()
    assert np.array_equal(first.labels_, second.labels_)


def test_it_is_an_estimator_to_scikit_learn():
    check_estimator(fc.ManifoldKMeans(3, n_neighbors=5, n_init=2))


def test_what_does_not_converge_is_said(digits, monkeypatch):
    graph = csr_matrix(dense(digits[0][:700], 10))
    values, vectors = leading(graph, 5, seed=0, tick=silent, restarts=1)
    assert vectors.shape == (700, len(values))

    def give_up(*args, **kwargs):
        raise ArpackNoConvergence("none", np.empty(0), np.empty((700, 0)))

    monkeypatch.setattr("scipy.sparse.linalg.eigsh", give_up)
    with pytest.raises(PreconditionError, match="converge"):
        leading(graph, 5, seed=0, tick=silent)


def test_blank_rows_are_placed_and_counted(digits):
    X = np.vstack([np.zeros((2, 64)), digits[0][:300]])
    model = fc.ManifoldKMeans(5, random_state=0).fit(X)
    assert model.n_placed_ == 2
    assert np.array_equal(model.labels_[2:], fc.ManifoldKMeans(5, random_state=0).fit(X[2:]).labels_)
    assert len(model.predict(X)) == 302


def test_a_row_that_no_fitted_row_resembles_takes_its_nearest(digits):
    A = csr_matrix(dense(digits[0][:200], 10))
    spectrum = spectrum_of(A, 4, exponent=3.0, seed=0, tick=silent)
    found = spectrum.extend(np.array([[7, 3]]), np.array([[-0.1, -0.2]]))
    signs = found[0] * spectrum.values / spectrum.vectors[7]
    np.testing.assert_allclose(signs, signs[0])


@pytest.mark.parametrize(
    ("options", "X", "error", "words"),
    [
        ({"n_clusters": 0}, np.eye(9), InputError, "n_clusters"),
        ({"n_clusters": 10}, np.eye(9), InputError, "n_clusters"),
        ({"n_neighbors": 1.5}, np.eye(9), InputError, "n_neighbors"),
        ({"n_components": 0}, np.eye(9), InputError, "n_components"),
        ({"exponent": -1}, np.eye(9), InputError, "exponent"),
        ({"damping": 1}, np.eye(9), InputError, "damping"),
        ({"n_clusters": 2}, np.zeros((9, 2)), InputError, "not all zeros"),
        ({"n_clusters": 2}, np.full((9, 2), np.nan), InputError, "NaN"),
        ({"n_clusters": 2}, csr_matrix(np.eye(9)), InputTypeError, "toarray"),
    ],
)
def test_bad_requests_are_named(options, X, error, words):
    with pytest.raises(error, match=words):
        fc.ManifoldKMeans(**options).fit(X)


def test_a_fit_can_be_cancelled(digits):
    def stop(progress):
        if progress.step == "spectrum":
            raise OperationCancelledError("enough")

    with listening(stop), pytest.raises(OperationCancelledError):
        fc.ManifoldKMeans(5).fit(digits[0])
