"""Rows that are hard to map: each gives a finite map, or an error that names what is wrong before any work."""

import numpy as np
import pytest

import fastclust as fc
from fastclust.errors import InputError

STARTS = ["pca", "spectral", "random"]
#: Numbers of rows: all of them in the full run.
FEW = {1, 2, 3, 4, 5, 6, 8, 11, 16, 31, 32, 33, 50}
NUMBERS = [n if n in FEW else pytest.param(n, marks=pytest.mark.full) for n in range(1, 51)]


def groups_apart(n_groups, size, seed=0):
    """Rows in groups so far apart that the graph of neighbours falls into pieces."""
    rng = np.random.default_rng(seed)
    return np.repeat(np.eye(n_groups) * 1e4, size, axis=0) + rng.normal(size=(n_groups * size, n_groups))


def check(points, shape):
    assert points.shape == shape
    assert points.dtype == np.float32
    assert np.isfinite(points).all()


@pytest.mark.parametrize("n", NUMBERS)
def test_each_small_number_of_rows_works_or_is_refused(n):
    X = np.random.default_rng(n).normal(size=(n, 3))
    with pytest.raises(InputError) as caught:
        fc.TSNE(max_iter=20).fit(X)  # a perplexity of 30 needs 91 rows
    assert caught.value.field == ("X" if n < 4 else "perplexity")
    if n >= 4:
        largest = (n - 1) / 3
        check(fc.TSNE(perplexity=largest, max_iter=20, random_state=0).fit_transform(X), (n, 2))
        with pytest.raises(InputError, match="perplexity"):
            fc.TSNE(perplexity=largest * 1.01, max_iter=20).fit(X)
    if n >= 2:
        model = fc.TSNE(affinities="uniform", k_neighbors=n - 1, max_iter=300, random_state=0)
        check(model.fit_transform(X), (n, 2))
        assert np.isfinite(model.kl_divergence_)
        assert np.ptp(model.embedding_) < 1e3


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("n_components", [1, 2, 3])
@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_each_start_works_for_few_rows(start, n_components, n):
    X = np.random.default_rng(n).normal(size=(n, 3))
    model = fc.TSNE(
        n_components, affinities="uniform", k_neighbors=1, initialization=start, max_iter=20, random_state=0
    )
    check(model.fit_transform(X), (n, n_components))


@pytest.mark.parametrize("backend", ["cpu", "opentsne"])
@pytest.mark.parametrize("start", STARTS)
def test_pieces_of_a_graph_are_mapped_apart(start, backend):
    X = groups_apart(3, 40)
    model = fc.TSNE(
        perplexity=10, initialization=start, max_iter=300, learning_rate=50, backend=backend, random_state=0
    ).fit(X)
    check(model.embedding_, (120, 2))
    group = np.repeat(np.arange(3), 40)
    found = fc.knn_graph(model.embedding_, 5).indices
    assert (group[found] == group[:, None]).mean() > 0.95


def test_pairs_without_other_neighbours_work():
    check(
        fc.TSNE(
            affinities="uniform", k_neighbors=1, initialization="spectral", max_iter=300, random_state=0
        ).fit_transform(groups_apart(30, 2)),
        (60, 2),
    )


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_rows_that_are_all_the_same_work(start, n_components):
    model = fc.TSNE(n_components, perplexity=5, initialization=start, max_iter=300, random_state=0)
    check(model.fit_transform(np.full((40, 3), 2.5)), (40, n_components))
    assert np.isfinite(model.kl_divergence_)


@pytest.mark.parametrize("copies", [2, 30, 200])
def test_rows_that_occur_often_work(copies):
    """Also where a row has more copies than neighbours."""
    X = np.repeat(np.random.default_rng(0).normal(size=(12, 3)), copies, axis=0)
    perplexity = min(10, (len(X) - 1) / 3)
    model = fc.TSNE(perplexity=perplexity, max_iter=300, random_state=0).fit(X)
    check(model.embedding_, (len(X), 2))


def test_copies_of_a_row_lie_near_each_other():
    X = np.repeat(np.random.default_rng(0).normal(size=(12, 3)) * 10, 8, axis=0)
    found = fc.knn_graph(fc.TSNE(perplexity=5, random_state=0).fit_transform(X), 5).indices
    assert (found // 8 == np.arange(96)[:, None] // 8).mean() > 0.95


@pytest.mark.parametrize("start", STARTS)
def test_columns_without_information_change_little(start):
    X = np.random.default_rng(0).normal(size=(80, 3))
    wide = np.hstack([X, np.full((80, 2), -3.0), np.zeros((80, 1))])
    params = {"perplexity": 8, "initialization": start, "max_iter": 5, "random_state": 0}
    plain, filled = (fc.TSNE(**params).fit_transform(each) for each in (X, wide))
    np.testing.assert_allclose(filled, plain, atol=1e-6)


def test_one_column_works():
    check(fc.TSNE(perplexity=8, max_iter=50, random_state=0).fit_transform(np.arange(60.0)[:, None]), (60, 2))


@pytest.mark.parametrize("scale", [2.0**-66, 2.0**-10, 2.0**20, 2.0**50])
def test_the_scale_of_the_rows_does_not_matter(scale):
    """By powers of two, as other scales round: the map is the same, and not one of many."""
    X = np.random.default_rng(0).normal(size=(80, 3))
    params = {"perplexity": 8, "max_iter": 60, "random_state": 0}
    points, plain = fc.TSNE(**params).fit_transform(X * scale), fc.TSNE(**params).fit_transform(X)
    check(points, (80, 2))
    np.testing.assert_allclose(points, plain, atol=1e-3 * np.abs(plain).max())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("scale", [1e30, 1e39, 1e300])
def test_rows_beyond_float32_are_refused(scale):
    X = np.random.default_rng(0).normal(size=(80, 3))
    with pytest.raises(InputError, match="Scale"):
        fc.TSNE(perplexity=8).fit(X * scale)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("pca_components", [None, 2])
def test_what_is_no_number_is_named(bad, pca_components):
    X = np.random.default_rng(0).normal(size=(60, 3))
    good = X.copy()
    X[41, 2] = bad
    with pytest.raises(InputError, match="row 41, column 2"):
        fc.TSNE(perplexity=5, pca_components=pca_components).fit(X)
    model = fc.TSNE(perplexity=5, pca_components=pca_components, max_iter=5, random_state=0).fit(good)
    with pytest.raises(InputError, match="column 2"):
        model.transform(X[40:])


@pytest.mark.parametrize(
    "X", [np.zeros((0, 3)), np.zeros((9, 0)), np.zeros(9), np.zeros((3, 3, 3)), np.array([["a"] * 3] * 9), None]
)
def test_what_are_no_rows_is_refused(X):
    with pytest.raises((ValueError, TypeError)):
        fc.TSNE(perplexity=2).fit(X)
