import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust_kernels.errors import InputError
from fastclust_kernels.mahalanobis import factor_of_covariance, factor_of_precision, pairs, to_components


def truth(X, Y, precision):
    """Exact differences in long double, from the inputs as they were rounded."""
    difference = X[:, None].astype(np.longdouble) - Y[None].astype(np.longdouble)
    squared = np.einsum("nmd,de,nme->nm", difference, precision.astype(np.longdouble), difference)
    return np.sqrt(squared).astype(np.float64)


def precision_of(d, condition, seed=0):
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    return (basis * np.geomspace(1, 1 / condition, d)) @ basis.T


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 4, 5, 64, 200])
@pytest.mark.parametrize(("offset", "separation"), [(0, 1), (1000, 1e-3)])
def test_all_pairs_are_within_the_tolerance_of_the_table(mahalanobis_backend, d, dtype, offset, separation):
    rng = np.random.default_rng(d)
    X = (offset + separation * rng.normal(size=(70, d))).astype(dtype)
    Y = (offset + separation * rng.normal(size=(600, d))).astype(dtype)
    precision = precision_of(d, 1e2)
    found, backend = pairs(X, Y, factor_of_precision(precision), backend=mahalanobis_backend.name)
    exact = truth(X, Y, precision)
    apart = exact > 0  # rounding to float32 made some rows equal
    assert backend == mahalanobis_backend.name
    assert found.dtype == dtype
    error = np.abs(found[apart] / exact[apart] - 1).max()
    assert error <= mahalanobis_backend.tolerance[np.dtype(dtype).name]
    assert not found[~apart].any()


@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(1, 30),
    d=st.integers(1, 12),
    copies=st.integers(1, 5),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 999),
)
def test_duplicates_have_distance_zero_and_near_ones_are_right(n, d, copies, dtype, seed):
    rng = np.random.default_rng(seed)
    X = np.repeat(rng.normal(size=(n, d)), copies, axis=0).astype(dtype)
    Y = X + (1e-4 * rng.normal(size=X.shape)).astype(dtype)
    factor = factor_of_precision(precision_of(d, 10, seed))
    exact = truth(X, Y, factor @ factor.T)
    tolerance = 2e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(pairs(X, Y, factor)[0], exact, rtol=tolerance, atol=1e-30)
    assert not np.diagonal(pairs(X, X, factor)[0]).any()


def test_squared_and_out():
    rng = np.random.default_rng(0)
    X, factor = rng.normal(size=(20, 6)), np.eye(6)
    out = np.full((20, 20), np.nan)
    found, _ = pairs(X, X, factor, squared=True, out=out)
    assert found is out
    np.testing.assert_allclose(out, pairs(X, X, factor)[0] ** 2, rtol=1e-12)
    with pytest.raises(InputError, match="out"):
        pairs(X, X, factor, out=np.empty((20, 19)))


def test_a_factor_of_a_covariance_whitens():
    rng = np.random.default_rng(1)
    A = rng.normal(size=(9, 9))
    covariance = A @ A.T + np.eye(9)
    W = factor_of_covariance(covariance)
    np.testing.assert_allclose(W.T @ covariance @ W, np.eye(9), atol=1e-10)
    np.testing.assert_allclose(W @ W.T, np.linalg.inv(covariance), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_a_singular_covariance_gives_its_rank_and_the_pseudo_inverse(rank):
    A = np.random.default_rng(rank).normal(size=(8, rank))
    W = factor_of_covariance(A @ A.T)
    assert W.shape == (8, rank)
    np.testing.assert_allclose(W @ W.T, np.linalg.pinv(A @ A.T), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("make", [factor_of_covariance, factor_of_precision])
@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.ones((2, 3)), "square"),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (np.diag([1.0, -1.0]), "semi-definite"),
        (np.zeros((2, 2)), "rank 1"),
        (np.array([[np.nan, 0], [0, 1]]), "finite"),
    ],
)
def test_a_matrix_that_is_none_is_refused(make, matrix, words):
    with pytest.raises(InputError, match=words):
        make(matrix)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_components_agree_with_an_einsum(dtype):
    rng = np.random.default_rng(3)
    X, means = (100 + rng.normal(size=(300, 6))).astype(dtype), 100 + rng.normal(size=(4, 6))
    A = rng.normal(size=(4, 6, 6))
    factors = np.stack([factor_of_covariance(a @ a.T + np.eye(6)) for a in A])
    difference = X[:, None].astype(float) - means[None]
    exact = np.sqrt(np.einsum("nkd,kdr,ker,nke->nk", difference, factors, factors, difference))
    np.testing.assert_allclose(to_components(X, means, factors), exact, rtol=1e-10 if dtype == np.float64 else 1e-6)
