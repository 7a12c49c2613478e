"""The choice of k: silhouettes against scikit-learn, mixtures whose k is known, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import calinski_harabasz_score, silhouette_score

import fastclust as fc
from fastclust.errors import InputError, InputTypeError
from fastclust.insight import choose_k
from fastclust.insight.choice import candidates
from fastclust.insight.silhouettes import mean_silhouettes


def mixture(k, d, n, apart, seed=0):
    """Unit Gaussians at corners of a grid, ``apart`` standard deviations from each other at least."""
    rng = np.random.default_rng(seed)
    corners = np.stack(np.meshgrid(*[np.arange(3)] * d), axis=-1).reshape(-1, d)
    centers = apart * corners[rng.choice(len(corners), k, replace=False)]
    return centers[rng.integers(0, k, n)] + rng.normal(size=(n, d))


@settings(deadline=None, max_examples=30)
@given(n=st.integers(7, 700), k=st.integers(2, 6), seed=st.integers(0, 2**16))
def test_silhouettes_are_those_of_scikit_learn(n, k, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 5, (n, 2)).astype(float)  # copies are common
    labels = rng.integers(0, k, n)
    labels[:2] = 0, 1
    other = np.zeros(n, int)
    other[0] = 1
    found = mean_silhouettes(rows, [labels, other, np.zeros(n, int)])
    assert found[0] == pytest.approx(silhouette_score(rows, labels))
    assert found[1] == pytest.approx(silhouette_score(rows, other))
    assert found[2] == 0


@pytest.mark.parametrize(("k", "d"), [(3, 2), (7, 3), (12, 6)])
def test_the_k_of_a_mixture_is_found(k, d):
    choice = choose_k(mixture(k, d, 150 * k, 8), range(2, 17))
    assert choice.k == k
    assert [point.k for point in choice.curve] == list(range(2, 17))
    at = {point.k: point for point in choice.curve}
    assert at[k].stability > 0.99
    assert at[k].calinski_harabasz == max(point.calinski_harabasz for point in choice.curve)


def test_figures_are_those_of_a_fit_of_its_own():
    X = mixture(4, 2, 500, 9)
    point = next(point for point in choose_k(X, [3, 4]).curve if point.k == 4)
    model = fc.KMeans(4, n_init=5, random_state=1).fit(X)
    assert point.inertia == pytest.approx(model.inertia_, rel=1e-6)
    assert point.calinski_harabasz == pytest.approx(calinski_harabasz_score(X, model.labels_), rel=1e-6)
    assert point.silhouette == pytest.approx(silhouette_score(X, model.labels_), rel=1e-6)


def test_the_same_seed_gives_the_same_choice_and_rows_are_drawn():
    X = mixture(5, 2, 3000, 8)
    first = choose_k(X, [4, 5, 6], max_rows=400, random_state=3)
    assert first == choose_k(X, [4, 5, 6], max_rows=400, random_state=3)
    assert first.k == 5
    assert first.curve[0].inertia < fc.KMeans(4, random_state=0).fit(X).inertia_ / 2


def test_the_metric_decides():
    """Two clusters by a short axis, which only a Mahalanobis metric or a direction shows."""
    rng = np.random.default_rng(0)
    angle = np.repeat([0.0, 2.1, 4.2], 100) + 0.05 * rng.normal(size=300)
    X = np.stack([np.cos(angle), np.sin(angle)], axis=1) * rng.lognormal(0, 1.5, (300, 1))
    assert choose_k(X, range(2, 8), metric="cosine").k == 3
    assert choose_k(X, range(2, 8)).k != 3


def test_rows_larger_than_memory_are_drawn_from_their_file(tmp_path):
    X = mixture(4, 6, 30_000, 8)
    np.save(tmp_path / "rows.npy", X)
    source = fc.open_rows(tmp_path / "rows.npy", memory="1MB")
    assert choose_k(source, [3, 4, 5], max_rows=600) == choose_k(X, [3, 4, 5], max_rows=600)


@pytest.mark.parametrize(("n", "most"), [(4, 2), (50, 5), (300, 30), (10_000, 100)])
def test_auto_tries_up_to_a_tenth_of_the_rows(n, most):
    tried = candidates(n)
    assert tried[0] == 2
    assert tried[-1] == most
    assert tried == sorted(set(tried))


@pytest.mark.parametrize(
    ("X", "ks", "error", "field"),
    [
        (np.zeros((20, 2)), [1, 2], InputError, "ks"),
        (np.zeros((20, 2)), [11], InputError, "ks"),
        (np.zeros((20, 2)), [], InputError, "ks"),
        (np.zeros((20, 2)), [2.5], InputTypeError, "ks"),
        (np.zeros((20, 2)), "all", InputError, "ks"),
        (np.zeros((3, 2)), "auto", InputError, "X"),
        (np.full((20, 2), np.nan), "auto", InputError, "X"),
    ],
)
def test_bad_input_is_refused(X, ks, error, field):
    with pytest.raises(error) as caught:
        choose_k(X, ks)
    assert caught.value.field == field


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_rows_that_are_all_the_same_do_not_break_it():
    choice = choose_k(np.ones((40, 3)), [2, 3])
    assert choice.k == 2
    assert choice.curve[0].silhouette == 0
