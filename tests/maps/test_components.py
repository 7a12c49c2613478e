"""Principal components by blocks, against scikit-learn's of the whole."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

import fastclust as fc
from fastclust.data.source import ArrayRows
from fastclust.errors import InputError
from fastclust.maps import components
from fastclust.maps.components import components_wanted, principal_components


def rows(n=9000, d=60, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return (rng.normal(size=(n, d)) * 0.8 ** np.arange(d) @ basis + rng.normal(size=d) * 10).astype(dtype)


@pytest.fixture(params=["covariance", "directions"])
def way(request, monkeypatch):
    if request.param == "directions":
        monkeypatch.setattr(components, "_COVARIANCE", 1)
    return request.param


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_are_scikit_learns(way, dtype):
    X = rows(dtype=dtype)
    theirs = PCA(5, svd_solver="full").fit(X.astype(np.float64))
    scores = principal_components(ArrayRows(X), 5).project(ArrayRows(X))
    expected = theirs.transform(X.astype(np.float64))
    expected *= np.sign((expected * scores).sum(axis=0))
    assert np.abs(scores - expected).max() < 1e-3 * np.abs(expected).max()


def test_what_many_columns_share_is_found():
    X = rows(n=300, d=1500, seed=1)
    found = principal_components(ArrayRows(X), 20, seed=0)
    kept = ((X - found.mean) @ found.axes).var(axis=0).sum()
    assert kept > 0.999 * PCA(20, svd_solver="full").fit(X).explained_variance_.sum() * 299 / 300
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(20), atol=1e-10)


def test_the_blocks_do_not_matter(way, monkeypatch):
    X = rows()
    whole = principal_components(ArrayRows(X), 4).axes
    monkeypatch.setattr(components, "_ROWS", 700)
    np.testing.assert_allclose(principal_components(ArrayRows(X), 4).axes, whole, atol=1e-8)


def test_more_components_than_columns_are_all_columns(way):
    assert principal_components(ArrayRows(rows(n=50, d=3)), 10).axes.shape == (3, 3)


def test_rows_of_one_value_have_components(way):
    X = np.full((40, 6), 7.0)
    found = principal_components(ArrayRows(X), 2)
    assert np.isfinite(found.axes).all()
    assert np.abs(found.project(ArrayRows(X))).max() == 0


def test_not_a_number_is_named():
    X = rows(n=5000)
    X[4500, 7] = np.nan
    with pytest.raises(InputError, match="nan"):
        principal_components(ArrayRows(X), 2)


@pytest.mark.parametrize(
    ("asked", "metric", "shape", "expected"),
    [
        ("auto", "euclidean", (70_000, 784), 50),
        ("auto", "euclidean", (70_000, 64), None),
        ("auto", "euclidean", (2_000, 784), None),
        ("auto", "cosine", (70_000, 784), None),
        (None, "euclidean", (70_000, 784), None),
        (30, "cosine", (100, 40), 30),
    ],
)
def test_auto_is_for_many_wide_rows(asked, metric, shape, expected):
    assert components_wanted(asked, metric, shape) == expected


def test_a_map_of_components_places_rows_of_all_columns():
    X = rows(n=300)
    model = fc.TSNE(perplexity=10, pca_components=4, max_iter=20, random_state=0).fit(X)
    assert (model.pca_components_, model.n_features_in_) == (4, 60)
    scores = principal_components(ArrayRows(X), 4, 0).project(ArrayRows(X))
    expected = fc.TSNE(perplexity=10, max_iter=20, random_state=0).fit(scores)
    assert np.array_equal(model.embedding_, expected.embedding_)
    assert expected.pca_components_ is None
    assert np.array_equal(model.transform(X[:9]), expected.transform(scores[:9]))
    with pytest.raises(InputError, match="60, as in fit"):
        model.transform(X[:, :4])


@pytest.mark.parametrize("asked", [0, 61, True, "all"])
def test_components_that_cannot_be_are_refused(asked):
    with pytest.raises(InputError, match="pca_components"):
        fc.TSNE(perplexity=10, pca_components=asked).fit(rows(n=300))


def test_a_graph_is_not_mapped_to_components():
    with pytest.raises(InputError, match="graph"):
        fc.TSNE(perplexity=10, pca_components=3).fit(fc.knn_graph(rows(n=100), 30))
