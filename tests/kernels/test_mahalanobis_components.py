"""Rows to components with a factor each, against an einsum in extended precision."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust_kernels.errors import InputError
from fastclust_kernels.mahalanobis import _components, factor_of_covariance, few, to_components

UNIT = {np.float32: 2.0**-24, np.float64: 2.0**-53}


def truth(X, means, factors):
    difference = X[:, None].astype(np.longdouble) - means[None].astype(np.longdouble)
    mapped = np.einsum("nkd,kdr->nkr", difference, factors.astype(np.longdouble))
    return np.sqrt((mapped**2).sum(axis=2)).astype(np.float64)


def allowed(dtype, factors):
    """README.md, Components: the root of the condition number times the roundoffs of a product."""
    d = factors.shape[1]
    values = [np.linalg.svd(factor, compute_uv=False) for factor in factors]
    condition = max(value[0] / value[value > 1e-9 * value[0]][-1] for value in values)
    return (np.sqrt(min(d, 128)) + np.sqrt(-(-d // 128)) + 4) * UNIT[dtype] * condition


def factors_of(rng, k, d, condition):
    made = []
    for _ in range(k):
        basis, _ = np.linalg.qr(rng.normal(size=(d, d)))
        covariance = (basis * np.geomspace(1, 1 / condition, d)) @ basis.T
        made.append(factor_of_covariance((covariance + covariance.T) / 2))
    return np.stack(made)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "k", "d"), [(1, 1, 1), (300, 4, 6), (67, 5, 64), (9, 2, 300)])
@pytest.mark.parametrize(("offset", "separation"), [(0, 1), (1000, 1e-3)])
def test_components_agree_with_an_einsum(components_backend, dtype, n, k, d, offset, separation):
    if components_backend.name == "cuda" and d > few.MOST:
        return  # refused: test_mahalanobis_cuda.py
    rng = np.random.default_rng(3)
    X = (offset + separation * rng.normal(size=(n, d))).astype(dtype)
    means = offset + separation * rng.normal(size=(k, d))
    factors = factors_of(rng, k, d, 1e2)
    found = to_components(X, means, factors, backend=components_backend.name)
    assert found.dtype == dtype
    error = np.abs(found / truth(X, means, factors) - 1).max()
    assert error <= allowed(dtype, factors)


@pytest.mark.parametrize("which", ["upper", "lower", "full", "wide"])
def test_zeros_that_are_left_out_are_those_of_the_factor(components_backend, which):
    """Several blocks of columns, in Triton too: a part of a triangle, and what is none, is used whole."""
    columns = 5 if components_backend.name == "cuda" else 290
    rank = columns + 3 * (which == "wide")
    rng = np.random.default_rng(5)
    X, means, factors = (
        rng.normal(size=(6, columns)),
        rng.normal(size=(2, columns)),
        rng.normal(size=(2, columns, rank)),
    )
    factors = {"upper": np.triu, "lower": np.tril}.get(which, np.asarray)(factors)
    found = to_components(X, means, factors, backend=components_backend.name)
    np.testing.assert_allclose(found, truth(X, means, factors), rtol=1e-12)


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 40),
    k=st.integers(1, 5),
    d=st.integers(1, 40),
    rank=st.integers(1, 40),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 999),
)
def test_any_shape_and_rank(n, k, d, rank, dtype, seed):
    rng = np.random.default_rng(seed)
    X, means = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(k, d))
    factors = rng.normal(size=(k, d, rank))
    exact = truth(X, means, factors)
    # A factor of lower rank may map a difference to nearly nothing: as a share of its length, not of the distance.
    lengths = np.linalg.norm(X[:, None] - means, axis=2) * np.linalg.norm(factors, axis=(1, 2))
    assert (np.abs(to_components(X, means, factors) - exact) <= 20 * UNIT[dtype] * lengths).all()
    np.testing.assert_allclose(to_components(X, means, factors, squared=True), exact**2, rtol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_depends_on_blocks_order_or_threads(monkeypatch, dtype):
    rng = np.random.default_rng(0)
    X, means, factors = rng.normal(size=(300, 20)).astype(dtype), rng.normal(size=(3, 20)), factors_of(rng, 3, 20, 10)
    whole = to_components(X, means, factors)
    order = rng.permutation(300)
    assert np.array_equal(to_components(X[order], means, factors), whole[order])
    monkeypatch.setattr(_components, "_MOST_ROWS", 8)
    assert np.array_equal(to_components(X, means, factors), whole)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert np.array_equal(to_components(X, means, factors), whole)
    finally:
        numba.set_num_threads(threads)


def test_a_row_on_a_mean_is_at_distance_zero_and_triangles_of_both_kinds_are_whole():
    rng = np.random.default_rng(0)
    means = 1000 + 1e-3 * rng.normal(size=(4, 40)).astype(np.float32)
    lower = np.tril(rng.normal(size=(4, 40, 40)))
    assert not np.diagonal(to_components(means, means, lower)).any()
    X = rng.normal(size=(20, 40))
    for factors in (lower, lower.transpose(0, 2, 1), lower * 0):
        exact = truth(X, means.astype(float), factors)
        np.testing.assert_allclose(to_components(X, means, factors), exact, rtol=1e-12)


def test_the_oracle_sees_a_wrong_kernel(monkeypatch):
    rng = np.random.default_rng(0)
    X, means, factors = rng.normal(size=(20, 40)), rng.normal(size=(3, 40)), factors_of(rng, 3, 40, 10)
    right = _components.used_of

    def short(panels):
        first, last = right(panels)
        return first, np.maximum(first, last - 1)

    monkeypatch.setattr(_components, "used_of", short)
    assert np.abs(to_components(X, means, factors) / truth(X, means, factors) - 1).max() > 1e-6


@pytest.mark.parametrize(
    ("means", "factors", "words"),
    [
        (np.ones((2, 3)), np.ones((2, 3, 3)), "columns"),
        (np.ones((2, 4)), np.ones((3, 4, 4)), "factors"),
        (np.ones((2, 4)), np.ones((4, 4)), "factors"),
        (np.ones((2, 4)), np.full((2, 4, 4), np.nan), "finite"),
        (np.full((2, 4), np.inf), np.ones((2, 4, 4)), "finite"),
    ],
)
def test_what_does_not_fit_is_refused(means, factors, words):
    with pytest.raises(InputError, match=words):
        to_components(np.ones((5, 4)), means, factors)
