import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.mixture import GaussianMixture

import fastclust as fc
from fastclust.errors import InputError, InputTypeError


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(120, 7)) @ rng.normal(size=(7, 7)) + 5


def test_the_function_is_scipys_cdist(rows):
    X, Y = rows[:50], rows[50:]
    precision = np.linalg.inv(np.cov(rows.T))
    np.testing.assert_allclose(fc.mahalanobis(X, Y, VI=precision), cdist(X, Y, "mahalanobis", VI=precision), rtol=1e-9)
    np.testing.assert_allclose(
        fc.mahalanobis(X, Y, cov=np.cov(rows.T)), cdist(X, Y, "mahalanobis", VI=precision), rtol=1e-9
    )
    np.testing.assert_allclose(fc.mahalanobis(X, Y), cdist(X, Y, "mahalanobis"), rtol=1e-9)


def test_float32_stays_float32_and_tensors_stay_tensors(rows):
    import torch

    assert fc.mahalanobis(rows.astype(np.float32), cov=np.eye(7)).dtype == np.float32
    assert isinstance(fc.mahalanobis(torch.from_numpy(rows), cov=np.eye(7)), torch.Tensor)


def test_both_matrices_at_once_are_refused(rows):
    with pytest.raises(InputError, match="both"):
        fc.mahalanobis(rows, VI=np.eye(7), cov=np.eye(7))


@pytest.mark.parametrize("estimator", ["empirical", "ledoit_wolf"])
def test_a_fitted_metric_whitens_what_it_was_fitted_on(rows, estimator):
    metric = fc.MahalanobisMetric(estimator).fit(rows)
    covariance = np.cov(rows.T) if estimator == "empirical" else LedoitWolf().fit(rows).covariance_
    np.testing.assert_allclose(metric.get_mahalanobis_matrix(), np.linalg.inv(covariance), rtol=1e-7, atol=1e-10)
    assert metric.rank_ == 7
    moved = metric.transform(rows)
    np.testing.assert_allclose(cdist(moved, moved), metric.pairwise(rows), atol=1e-9)


def test_constructors_agree(rows):
    covariance = np.cov(rows.T)
    precision = np.linalg.inv(covariance)
    wanted = fc.MahalanobisMetric.from_covariance(covariance).pairwise(rows)
    for metric in (
        fc.MahalanobisMetric.from_precision(precision),
        fc.MahalanobisMetric.from_factor(np.linalg.cholesky(precision)),
    ):
        np.testing.assert_allclose(metric.pairwise(rows), wanted, rtol=1e-7, atol=1e-9)


def test_pair_distance_and_get_metric_follow_metric_learn(rows):
    metric = fc.MahalanobisMetric().fit(rows)
    all_pairs = metric.pairwise(rows)
    pairs = np.stack([rows[:10], rows[10:20]], axis=1)
    np.testing.assert_allclose(metric.pair_distance(pairs), np.diagonal(all_pairs[:10, 10:20]), rtol=1e-9)
    assert metric.get_metric()(rows[0], rows[1]) == pytest.approx(all_pairs[0, 1])


def test_a_rank_deficient_covariance_counts_only_directions_with_variance():
    rng = np.random.default_rng(1)
    X = np.c_[rng.normal(size=(50, 2)), np.zeros(50)]
    metric = fc.MahalanobisMetric().fit(X)
    assert metric.rank_ == 2
    np.testing.assert_allclose(
        metric.pairwise(X), cdist(X[:, :2], X[:, :2], "mahalanobis", VI=np.linalg.inv(np.cov(X[:, :2].T)))
    )


def test_components_are_the_e_step_of_a_mixture(rows):
    mixture = GaussianMixture(3, random_state=0, covariance_type="full").fit(rows)
    found = fc.mahalanobis_to_components(rows, mixture.means_, mixture.covariances_, squared=True)
    log_determinant = np.linalg.slogdet(mixture.covariances_)[1]
    log_density = -0.5 * (found + log_determinant + 7 * np.log(2 * np.pi)) + np.log(mixture.weights_)
    np.testing.assert_allclose(np.logaddexp.reduce(log_density, axis=1), mixture.score_samples(rows), rtol=1e-9)


def test_a_saved_metric_comes_back(tmp_path, rows):
    metric = fc.MahalanobisMetric("ledoit_wolf").fit(rows)
    metric.save(tmp_path / "m.safetensors")
    loaded = fc.MahalanobisMetric.load(tmp_path / "m.safetensors")
    assert np.array_equal(loaded.transform(rows), metric.transform(rows))
    assert loaded.estimator == "ledoit_wolf"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: fc.MahalanobisMetric("robust").fit(np.eye(3)), InputError),
        (lambda: fc.MahalanobisMetric().fit(np.ones((1, 3))), InputError),
        (lambda: fc.MahalanobisMetric().fit(np.full((9, 3), np.nan)), InputError),
        (lambda: fc.MahalanobisMetric().fit(np.array([["a"]])), InputTypeError),
        (lambda: fc.MahalanobisMetric.from_covariance(np.eye(3)).transform(np.eye(2)), InputError),
        (lambda: fc.MahalanobisMetric.from_covariance(np.eye(3)).pair_distance(np.eye(3)), InputError),
    ],
)
def test_bad_input_is_refused(call, error):
    with pytest.raises(error):
        call()
