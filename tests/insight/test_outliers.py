"""Outliers: p-values on Gaussian rows are uniform, planted rows stand out, hard shapes do not break it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from fastclust.errors import InputError
from fastclust.insight import outliers


def model(labels):
    return SimpleNamespace(labels_=np.asarray(labels))


def gaussian(n, d, k, seed):
    """Gaussian clusters, each with its own covariance, at centres far apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    maps = [rng.normal(size=(d, d)) for _ in range(k)]
    X = np.stack([rng.normal(size=d) @ maps[label] + 50 * label for label in labels])
    return X, labels


@pytest.mark.parametrize(("n", "d", "k"), [(2000, 2, 3), (3000, 10, 2), (2500, 40, 2)])
def test_p_values_of_gaussian_clusters_are_uniform(n, d, k):
    p = np.concatenate([outliers(*_fit(n, d, k, seed))[1] for seed in range(3)])
    # The quartile points are the clusters' own, so the test of Kolmogorov and Smirnov is taken by its distance.
    assert kstest(p, "uniform").statistic < 0.04
    for level in (0.1, 0.05, 0.01):
        assert 0.6 * level < (p < level).mean() < 1.6 * level


def _fit(n, d, k, seed):
    X, labels = gaussian(n, d, k, seed)
    return X, model(labels)


def test_p_values_are_calibrated_where_clusters_are_small_and_share_a_covariance():
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(30), 40)
    X = rng.normal(size=(1200, 24)) @ rng.normal(size=(24, 24)) + 100 * labels[:, None]
    p = outliers(X, model(labels))[1]
    assert kstest(p, "uniform").statistic < 0.05
    assert (p < 0.01).mean() < 0.02


def test_scores_approach_mahalanobis_distances_under_the_true_covariance():
    rng = np.random.default_rng(2)
    root = np.diag([3.0, 1.0, 0.5]) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    X = rng.normal(size=(8000, 3)) @ root + 7
    scores, p = outliers(X, model(np.zeros(8000, int)))
    true = np.sqrt((np.linalg.solve(root.T, (X - 7).T) ** 2).sum(axis=0))
    # Rows in the far tail are left out of the estimate, which makes it a little smaller.
    assert np.allclose(scores / np.median(scores), true / np.median(true), rtol=0.05, atol=0.05)
    assert np.corrcoef(p, chi2.sf(true**2, 3))[0, 1] > 0.999


@pytest.mark.parametrize("d", [4, 48])
def test_planted_outliers_stand_out_even_together(d):
    """Forty rows in one direction would hide themselves in a covariance that they helped to estimate."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(2000, d)) * np.linspace(0.5, 3, d)
    X[:40, 0] += 12
    scores, p = outliers(X, model(np.zeros(2000, int)))
    assert (p[:40] < 1e-3).all()
    assert (p[40:] < 1e-3).mean() < 0.005
    assert set(np.argsort(-scores)[:40]) == set(range(40))


def test_long_tails_do_not_make_everything_an_outlier():
    rng = np.random.default_rng(6)
    X = rng.standard_t(3, size=(4000, 16))
    p = outliers(X, model(np.zeros(4000, int)))[1]
    assert 0.4 < np.median(p) < 0.6
    assert (p < 0.01).mean() < 0.08


def test_the_order_of_rows_does_not_matter():
    X, labels = gaussian(600, 5, 3, 0)
    order = np.random.default_rng(0).permutation(600)
    scores, p = outliers(X, model(labels))
    scores_moved, p_moved = outliers(X[order], model(labels[order]))
    np.testing.assert_allclose(scores_moved, scores[order], rtol=1e-6)
    np.testing.assert_allclose(p_moved, p[order], rtol=1e-4, atol=1e-12)


def test_degenerate_rows_give_finite_answers():
    rng = np.random.default_rng(8)
    flat = np.zeros((300, 6))
    flat[:, 0] = rng.normal(size=300)
    cases = {
        "one row": (np.ones((1, 3)), [0]),
        "all the same": (np.ones((50, 3)), np.zeros(50, int)),
        "a cluster of one": (np.vstack([rng.normal(size=(200, 3)), [[99.0, 0, 0]]]), [0] * 200 + [1]),
        "no variance in most columns": (flat, np.zeros(300, int)),
        "more columns than rows": (rng.normal(size=(20, 50)), [0] * 10 + [1] * 10),
        "most on one place": (np.vstack([np.zeros((400, 3)), rng.normal(size=(20, 3))]), np.zeros(420, int)),
    }
    for name, (X, labels) in cases.items():
        scores, p = outliers(X, model(labels))
        assert np.isfinite(scores).all(), name
        assert ((p >= 0) & (p <= 1)).all(), name
    scores, p = outliers(*cases["a cluster of one"][:1], model(cases["a cluster of one"][1]))
    assert (scores[-1], p[-1]) == (0, 1)


@pytest.mark.parametrize(
    ("X", "labels", "message"),
    [
        (np.array([[0.0, np.nan]]), [0], "X"),
        (np.zeros((4, 2)), [0, 1], "4 rows"),
    ],
)
def test_bad_input_is_refused(X, labels, message):
    with pytest.raises(InputError, match=message):
        outliers(X, model(labels))


def test_a_model_without_labels_is_refused():
    with pytest.raises(InputError, match="labels_"):
        outliers(np.zeros((4, 2)), object())
