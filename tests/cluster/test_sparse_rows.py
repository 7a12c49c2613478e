import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix, random_array

from fastclust import KMeans, MahalanobisMetric, MiniBatchKMeans
from fastclust.errors import BackendError, InputError, InputTypeError


def rows(n=400, d=30, seed=0):
    return csr_array(random_array((n, d), density=0.2, rng=seed, dtype=np.float64))


@pytest.mark.parametrize("container", [csr_array, csr_matrix])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_csr_rows_give_what_dense_ones_give(container, metric, dtype):
    X = container(rows()).astype(dtype)
    X = X[np.diff(X.indptr) > 0]
    weights = np.random.default_rng(1).random(X.shape[0])
    ours = KMeans(7, metric=metric, random_state=0).fit(X, sample_weight=weights)
    dense = KMeans(7, metric=metric, random_state=0).fit(X.toarray(), sample_weight=weights)
    assert ours.backend_ == "scipy"
    assert np.array_equal(ours.labels_, dense.labels_)
    tolerance = {np.float32: 1e-5, np.float64: 1e-10}[dtype]
    np.testing.assert_allclose(ours.cluster_centers_, dense.cluster_centers_, atol=tolerance)
    np.testing.assert_allclose(ours.inertia_, dense.inertia_, rtol=tolerance)
    np.testing.assert_allclose(ours.transform(X), dense.transform(X.toarray()), atol=20 * tolerance)
    np.testing.assert_allclose(ours.score(X), dense.score(X.toarray()), rtol=tolerance)


def test_many_blocks_of_scores_give_the_same_labels(monkeypatch):
    X = rows()
    whole = KMeans(5, random_state=0).fit(X)
    monkeypatch.setattr("fastclust.cluster.rows._SCORES", 64)
    assert np.array_equal(KMeans(5, random_state=0).fit(X).labels_, whole.labels_)


def test_batches_of_csr_rows_are_those_of_dense_ones():
    X = rows()
    ours, dense = (MiniBatchKMeans(5, batch_size=64, random_state=0, max_iter=5).fit(Y) for Y in (X, X.toarray()))
    np.testing.assert_allclose(ours.cluster_centers_, dense.cluster_centers_, atol=1e-10)


def test_what_csr_rows_cannot_have_is_refused():
    X = rows()
    with pytest.raises(BackendError, match=r"sparse.*scipy"):
        KMeans(2, backend="numba").fit(X)
    with pytest.raises(InputTypeError, match="toarray"):
        KMeans(2, metric=MahalanobisMetric().fit(X.toarray())).fit(X)
    broken = X.copy()
    broken.data[3] = np.nan
    with pytest.raises(InputError, match="finite"):
        KMeans(2).fit(broken)
    empty = X.copy()
    empty.data[: empty.indptr[1]] = 0
    with pytest.raises(InputError, match="direction"):
        KMeans(2, metric="cosine").fit(empty)
