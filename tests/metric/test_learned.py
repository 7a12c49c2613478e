"""Metrics learned from labels or pairs, against formulas in float64 and scikit-learn."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier, NeighborhoodComponentsAnalysis

import fastclust as fc
from fastclust.errors import DataError, InputError, InputTypeError
from fastclust.metric.lmnn import loss_and_gradient, target_neighbors


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def pairs_of(X, y, count=500):
    chosen = np.random.default_rng(0).integers(len(X), size=(count, 2))
    return X[chosen], np.where(y[chosen[:, 0]] == y[chosen[:, 1]], 1, -1)


LEARNERS = [fc.RCA(), fc.RCA(2), fc.NCA(max_iter=5), fc.LMNN(max_iter=5), fc.KISSME()]


def fitted(learner, iris):
    return learner.fit(*(pairs_of(*iris) if isinstance(learner, fc.KISSME) else iris))


def test_rca_inverts_the_covariance_around_the_chunks_means(iris):
    X, chunks = iris[0], np.where(np.arange(150) % 5 == 0, -1, iris[1])
    within = (
        sum(
            np.outer(x - X[chunks == chunk].mean(axis=0), x - X[chunks == chunk].mean(axis=0))
            for chunk in range(3)
            for x in X[chunks == chunk]
        )
        / (chunks >= 0).sum()
    )
    np.testing.assert_allclose(fc.RCA().fit(X, chunks).get_mahalanobis_matrix(), np.linalg.inv(within), rtol=1e-10)


def test_rca_with_fewer_components_spans_the_discriminants(iris):
    mapped = fc.RCA(2).fit(*iris).transform(iris[0])
    theirs = LinearDiscriminantAnalysis(solver="eigen", n_components=2).fit(*iris).transform(iris[0])
    # The same plane, each direction up to sign and scale.
    for column in range(2):
        assert abs(np.corrcoef(mapped[:, column], theirs[:, column])[0, 1]) == pytest.approx(1, abs=1e-9)
    own = mapped - np.stack([mapped[iris[1] == label].mean(axis=0) for label in range(3)])[iris[1]]
    np.testing.assert_allclose(own.T @ own / 150, np.eye(2), atol=1e-10)


def test_nca_is_scikit_learns(iris):
    ours = fc.NCA(2, init="pca", max_iter=10, random_state=0).fit(*iris)
    theirs = NeighborhoodComponentsAnalysis(2, init="pca", max_iter=10, random_state=0).fit(*iris)
    np.testing.assert_allclose(ours.components_, theirs.components_)
    assert ours.n_iter_ == theirs.n_iter_


def test_lmnns_objective_and_gradient_are_those_of_the_sum_over_triplets(iris):
    X, y = iris[0][::5], iris[1][::5]
    targets = target_neighbors(X, y, 2)
    L = np.random.default_rng(0).normal(size=(3, 4))
    distance = lambda i, j: float(((L @ (X[i] - X[j])) ** 2).sum())  # noqa: E731
    loss = sum(0.7 * distance(i, j) for i in range(len(X)) for j in targets[i])
    for i in range(len(X)):
        for j in targets[i]:
            loss += sum(0.3 * max(0, 1 + distance(i, j) - distance(i, far)) for far in range(len(X)) if y[far] != y[i])
    value = lambda flat: loss_and_gradient(flat.reshape(3, 4), X, y, targets, 0.3)  # noqa: E731
    assert value(L.reshape(-1))[0] == pytest.approx(loss)
    slope = np.abs(value(L.reshape(-1))[1]).max()
    assert check_grad(lambda v: value(v)[0], lambda v: value(v)[1], L.reshape(-1)) < 1e-4 * slope


def test_target_neighbours_are_the_nearest_of_the_class(iris):
    X, y = iris
    targets = target_neighbors(X, y, 3)
    distances = np.linalg.norm(X[:, None] - X[None], axis=2)
    distances[(y[:, None] != y) | np.eye(150, dtype=bool)] = np.inf
    near = np.sort(distances, axis=1)[:, :3]
    np.testing.assert_allclose(np.take_along_axis(distances, targets, axis=1), near)


@pytest.mark.parametrize("learner", [fc.RCA(), fc.LMNN()], ids=lambda learner: type(learner).__name__)
def test_neighbours_are_better_in_the_learned_metric(learner):
    X, y = load_wine(return_X_y=True)
    X = X / X.std(axis=0) * np.geomspace(1, 10, X.shape[1])[::-1]
    train = np.arange(len(X)) % 2 == 0
    score = lambda rows: KNeighborsClassifier(3).fit(rows[train], y[train]).score(rows[~train], y[~train])  # noqa: E731
    learner.fit(X[train], y[train])
    assert score(learner.transform(X)) > score(X) + 0.02


def test_kissme_is_the_difference_of_two_precision_matrices(iris):
    X, y = iris
    pairs, signs = pairs_of(X, y)
    difference = pairs[:, 0] - pairs[:, 1]
    inverse = lambda rows: np.linalg.inv(rows.T @ rows / len(rows))  # noqa: E731
    values, vectors = np.linalg.eigh(inverse(difference[signs == 1]) - inverse(difference[signs == -1]))
    wanted = (vectors * np.maximum(values, 0)) @ vectors.T
    metric = fc.KISSME().fit(pairs, signs)
    np.testing.assert_allclose(metric.get_mahalanobis_matrix(), wanted, rtol=1e-8, atol=1e-10)
    scores = metric.pair_score(pairs)
    assert np.median(scores[signs == 1]) > np.median(scores[signs == -1])


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_a_learned_metric_is_a_metric_for_everything_else(iris, learner, tmp_path):
    metric = fitted(learner, iris)
    mapped = metric.transform(iris[0])
    np.testing.assert_allclose(
        metric.get_metric()(iris[0][0], iris[0][99]), np.linalg.norm(mapped[0] - mapped[99]), rtol=1e-10
    )
    ours = fc.KMeans(3, metric=metric, init=mapped[[0, 60, 120]], n_init=1).fit(iris[0])
    theirs = KMeans(3, init=mapped[[0, 60, 120]], n_init=1).fit(mapped)
    assert np.array_equal(ours.labels_, theirs.labels_)
    metric.save(tmp_path / "m.safetensors")
    again = type(metric).load(tmp_path / "m.safetensors")
    assert repr(again) == repr(metric)
    assert np.array_equal(again.transform(iris[0]), mapped)
    plain = fc.MahalanobisMetric.load(tmp_path / "m.safetensors")
    assert type(plain) is fc.MahalanobisMetric
    assert np.array_equal(plain.transform(iris[0]), mapped)


def test_one_learners_file_is_not_anothers(iris, tmp_path):
    fc.RCA().fit(*iris).save(tmp_path / "m.safetensors")
    with pytest.raises(DataError, match="RCA"):
        fc.NCA.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda X, _: fc.RCA().fit(X), InputError),
        (lambda X, y: fc.RCA().fit(X, y[:-1]), InputError),
        (lambda X, y: fc.RCA().fit(X, y + 0.5), InputTypeError),
        (lambda X, _: fc.RCA().fit(X, np.arange(150)), InputError),
        (lambda X, _: fc.RCA().fit(X, np.full(150, -1)), InputError),
        (lambda X, y: fc.RCA(5).fit(X, y), InputError),
        (lambda X, y: fc.NCA(init="best").fit(X, y), InputError),
        (lambda X, y: fc.LMNN(50).fit(X, y), InputError),
        (lambda X, y: fc.LMNN(regularization=1).fit(X, y), InputError),
        (lambda X, _: fc.LMNN().fit(X, np.zeros(150, int)), InputError),
        (lambda X, y: fc.KISSME().fit(X, y), InputError),
        (lambda X, y: fc.KISSME().fit(pairs_of(X, y)[0], np.ones(500, int)), InputError),
        (lambda X, y: fc.KISSME().fit(pairs_of(X, y)[0], np.arange(500)), InputError),
        (lambda X, y: fc.KISSME().fit(pairs_of(np.c_[X, X], y)[0], pairs_of(X, y)[1]), InputError),
    ],
)
def test_bad_input_is_refused(iris, call, error):
    with pytest.raises(error):
        call(*iris)
