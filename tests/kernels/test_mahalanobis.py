"""All pairs and row beside row, against exact differences in extended precision."""

import numba
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastclust_kernels.errors import BackendError, InputError, InputTypeError
from fastclust_kernels.mahalanobis import _pairs, bounds, factor_of_covariance, factor_of_precision, paired, pairs

TOLERANCE = bounds.TOLERANCE


def truth(X, Y, factor):
    """Exact differences in long double, from the inputs as they were rounded."""
    difference = X[:, None].astype(np.longdouble) - Y[None].astype(np.longdouble)
    mapped = difference @ factor.astype(np.longdouble)
    return np.sqrt((mapped**2).sum(axis=2)).astype(np.float64)


def precision_of(d, condition, seed=0):
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    return (basis * np.geomspace(1, 1 / condition, d)) @ basis.T


def error_of(found, exact):
    """Largest relative error; where the truth is zero, so must be what was found."""
    apart = exact > 0
    assert not found[~apart].any()
    return np.abs(found[apart] / exact[apart] - 1).max(initial=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 4, 5, 64, 200])
@pytest.mark.parametrize(("offset", "separation"), [(0, 1), (1000, 1e-3)])
def test_all_pairs_are_within_the_tolerance_of_the_table(mahalanobis_backend, d, dtype, offset, separation):
    rng = np.random.default_rng(d)
    X = (offset + separation * rng.normal(size=(30, d))).astype(dtype)
    Y = (offset + separation * rng.normal(size=(150, d))).astype(dtype)
    factor = factor_of_precision(precision_of(d, 1e2))
    found, backend = pairs(X, Y, factor, backend=mahalanobis_backend.name)
    assert backend == mahalanobis_backend.name
    assert found.dtype == dtype
    assert error_of(found, truth(X, Y, factor)) <= mahalanobis_backend.tolerance[np.dtype(dtype).name]
    beside, _ = paired(X, Y[:30], factor, backend=mahalanobis_backend.name)
    assert beside.dtype == dtype
    assert error_of(beside, np.diagonal(truth(X, Y[:30], factor))) <= (2e-7 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [512, 4096])
def test_rounding_does_not_grow_with_the_columns(dtype, d):
    rng = np.random.default_rng(d)
    X, Y = (rng.normal(size=(n, d)).astype(dtype) for n in (9, 40))
    weights = rng.uniform(0.5, 2, d)
    exact = np.linalg.norm((X[:, None].astype(np.float64) - Y) * weights, axis=2)
    assert error_of(pairs(X, Y, np.diag(weights))[0], exact) <= TOLERANCE[np.dtype(dtype).name] / 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("condition", [1e2, 1e6, 1e10])
@pytest.mark.parametrize("offset", [0, 1000])
def test_errors_grow_as_the_root_of_the_condition_for_a_given_factor(mahalanobis_backend, dtype, condition, offset):
    rng = np.random.default_rng(0)
    covariance = precision_of(24, condition)
    covariance = (covariance + covariance.T) / 2
    spread = np.linalg.cholesky(covariance)
    # Rows as the covariance says, which is where whitening loses most.
    X, Y = ((offset + rng.normal(size=(n, 24)) @ spread.T).astype(dtype) for n in (60, 300))
    factor = factor_of_covariance(covariance)
    allowed = TOLERANCE[np.dtype(dtype).name] * max(1, np.sqrt(condition / 1e2))
    found = pairs(X, Y, factor, backend=mahalanobis_backend.name)[0]
    assert error_of(found, truth(X, Y, factor)) <= allowed


@pytest.mark.parametrize("condition", [1e2, 1e4, 1e6])
def test_errors_grow_as_the_condition_for_a_given_covariance(condition):
    mpmath = pytest.importorskip("mpmath")
    rng = np.random.default_rng(1)
    covariance = precision_of(6, condition)
    covariance = (covariance + covariance.T) / 2
    X, Y = rng.normal(size=(8, 6)), rng.normal(size=(5, 6))
    with mpmath.workdps(60):
        inverse = mpmath.inverse(mpmath.matrix(covariance.tolist()))
        exact = np.empty((8, 5))
        for i in range(8):
            for j in range(5):
                apart = mpmath.matrix(
                    [mpmath.mpf(float(a)) - mpmath.mpf(float(b)) for a, b in zip(X[i], Y[j], strict=True)]
                )
                exact[i, j] = float(mpmath.sqrt((apart.T * inverse * apart)[0]))
    assert error_of(pairs(X, Y, factor_of_covariance(covariance))[0], exact) <= 1e-12 * condition / 1e2


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 30),
    d=st.integers(1, 140),
    copies=st.integers(1, 5),
    dtype=st.sampled_from([np.float32, np.float64]),
    offset=st.sampled_from([0.0, 1000.0]),
    seed=st.integers(0, 999),
)
def test_duplicates_have_distance_zero_and_near_ones_are_right(n, d, copies, dtype, offset, seed):
    rng = np.random.default_rng(seed)
    X = (offset + np.repeat(rng.normal(size=(n, d)), copies, axis=0)).astype(dtype)
    Y = X + (1e-4 * rng.normal(size=X.shape)).astype(dtype)
    factor = factor_of_precision(precision_of(d, 10, seed))
    assert error_of(pairs(X, Y, factor)[0], truth(X, Y, factor)) <= TOLERANCE[np.dtype(dtype).name]
    assert not np.diagonal(pairs(X, X, factor)[0]).any()


@pytest.mark.parametrize("scale", [1e-25, 1e-15, 1e15, 1e25])
def test_numbers_that_float32_cannot_square_are_right(mahalanobis_backend, scale):
    rng = np.random.default_rng(0)
    X, Y, factor = (scale * rng.normal(size=(9, 7))).astype(np.float32), None, np.eye(7)
    Y = (scale * rng.normal(size=(40, 7))).astype(np.float32)
    found = pairs(X, Y, factor, backend=mahalanobis_backend.name)[0]
    assert error_of(found, truth(X, Y, factor)) <= 2e-6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_lies_around_a_row_does_not_change_it(monkeypatch, dtype):
    """The same bits for any order of the rows of X, any number of threads, and rows that come by slabs."""
    rng = np.random.default_rng(3)
    X, Y, factor = rng.normal(size=(300, 20)).astype(dtype), rng.normal(size=(257, 20)).astype(dtype), np.eye(20)
    whole = pairs(X, Y, factor)[0]
    order = rng.permutation(300)
    assert np.array_equal(pairs(X[order], Y, factor)[0], whole[order])
    assert np.array_equal(pairs(X[5:6], Y, factor)[0], whole[5:6])
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert np.array_equal(pairs(X, Y, factor)[0], whole)
    finally:
        numba.set_num_threads(threads)
    monkeypatch.setattr(_pairs, "slab_of", lambda _rank: 37)
    assert np.array_equal(pairs(X, Y, factor)[0], whole)
    assert np.array_equal(pairs(X, X, factor)[0], pairs(X, X.copy(), factor)[0])


@pytest.mark.parametrize("backend", ["numba", "reference", "triton"])
def test_squared_and_out(backend, tmp_path, monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    rng = np.random.default_rng(0)
    X, factor = rng.normal(size=(20, 6)), np.eye(6)
    out = np.full((20, 20), np.nan)
    found, _ = pairs(X, X, factor, squared=True, out=out, backend=backend)
    assert found is out
    plain = pairs(X, X, factor)[0]
    np.testing.assert_allclose(out, plain**2, rtol=1e-12)
    file = np.lib.format.open_memmap(tmp_path / "d.npy", "w+", np.float64, (20, 20))
    assert pairs(X, X, factor, out=file, backend=backend)[0] is file
    np.testing.assert_allclose(np.load(tmp_path / "d.npy"), plain, rtol=1e-12)
    np.testing.assert_allclose(paired(X, X[::-1], factor, squared=True, backend=backend)[0], np.diagonal(out[:, ::-1]))
    for wrong in (np.empty((20, 19)), np.empty((20, 20), np.float32), np.empty((20, 40))[:, ::2]):
        with pytest.raises(InputError, match="out"):
            pairs(X, X, factor, out=wrong, backend=backend)


@pytest.mark.parametrize("d", [3, 20])
def test_rows_however_they_lie_in_memory(d):
    rng = np.random.default_rng(0)
    X, Y, factor = rng.normal(size=(40, d)), rng.normal(size=(33, d)), rng.normal(size=(d, d))
    wanted = pairs(X, Y, factor)[0]
    locked = X.copy()
    locked.flags.writeable = False
    wide = np.zeros((40, 2 * d))
    wide[:, ::2] = X
    for same in (np.asfortranarray(X), locked, wide[:, ::2], X[::-1].copy()[::-1], X.astype(X.dtype.newbyteorder())):
        assert np.array_equal(pairs(same, Y, factor)[0], wanted)
        assert np.array_equal(paired(same[:33], Y, factor)[0], paired(X[:33], Y, factor)[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("call", [pairs, paired])
def test_numbers_that_are_none_are_refused(call, bad):
    good, factor = np.ones((5, 6)), np.eye(6)
    wrong = good.copy()
    wrong[3, 2] = bad
    for X, Y, W in ((wrong, good, factor), (good, wrong, factor), (good, good, np.full((6, 6), bad))):
        with pytest.raises(InputError, match="finite"):
            call(X, Y, W)


def test_what_does_not_fit_is_refused():
    X, factor = np.ones((5, 6)), np.eye(6)
    with pytest.raises(InputError, match="columns"):
        pairs(X, np.ones((5, 7)), factor)
    with pytest.raises(InputError, match="factor"):
        pairs(X, X, np.eye(7))
    with pytest.raises(InputError, match="rows"):
        paired(X, X[:4], factor)
    with pytest.raises(InputTypeError):
        pairs(X.astype(complex), X, factor)
    with pytest.raises(BackendError, match="reference"):
        pairs(X, X, factor, backend="cuda")


@pytest.mark.parametrize("wrong", ["no repair", "wrong origin"])
def test_the_oracle_sees_a_wrong_kernel(monkeypatch, wrong):
    rng = np.random.default_rng(0)
    X, Y = ((1000 + 1e-3 * rng.normal(size=(40, 16))).astype(np.float32) for _ in range(2))
    X[:20] = Y[:20] + (1e-4 * rng.normal(size=(20, 16))).astype(np.float32)
    factor = factor_of_precision(precision_of(16, 1e2))
    exact = truth(X, Y, factor)
    assert error_of(pairs(X, Y, factor)[0], exact) <= 2e-6
    if wrong == "no repair":
        monkeypatch.setattr(bounds, "repair_below", lambda *_: 0.0)
        monkeypatch.setattr(bounds, "floor_of", lambda _: 0.0)
        monkeypatch.setattr(bounds, "losses", lambda spreads, *_: np.zeros_like(spreads))
    else:
        monkeypatch.setattr(_pairs, "map_of", wrong_map)
    assert error_of(pairs(X, Y, factor)[0] + 0, np.where(exact > 0, exact, 0)) > 2e-6


def wrong_map(factor, shift):
    from fastclust_kernels.mahalanobis._whiten import map_of

    right = map_of(factor, shift)
    return right._replace(panels=right.panels * (1 + 1e-5))


def test_a_factor_of_a_covariance_whitens():
    rng = np.random.default_rng(1)
    A = rng.normal(size=(9, 9))
    covariance = A @ A.T + np.eye(9)
    W = factor_of_covariance(covariance)
    np.testing.assert_allclose(W.T @ covariance @ W, np.eye(9), atol=1e-10)
    np.testing.assert_allclose(W @ W.T, np.linalg.inv(covariance), rtol=1e-8, atol=1e-12)
    V = factor_of_precision(covariance)
    np.testing.assert_allclose(V @ V.T, covariance, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_a_singular_covariance_gives_its_rank_and_the_pseudo_inverse(rank):
    A = np.random.default_rng(rank).normal(size=(8, rank))
    W = factor_of_covariance(A @ A.T)
    assert W.shape == (8, rank)
    np.testing.assert_allclose(W @ W.T, np.linalg.pinv(A @ A.T), rtol=1e-6, atol=1e-8)
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(20, 8)), rng.normal(size=(30, 8))
    assert error_of(pairs(X, Y, W)[0], truth(X, Y, W)) <= 1e-12
    V = factor_of_precision(A @ A.T)
    assert V.shape == (8, rank)


@settings(deadline=None, max_examples=150)
@given(
    d=st.integers(1, 9),
    rank=st.integers(1, 9),
    steps=st.integers(0, 14),
    scale=st.integers(-60, 60),
    offset=st.sampled_from([0.0, 1024.0]),
    seed=st.integers(0, 2**31),
)
def test_any_covariance_of_any_rank_and_condition_measures_exactly_known_differences(
    d, rank, steps, scale, offset, seed
):
    """With a covariance A A^T and A of full column rank, a difference A w is exactly |w| long: whole numbers."""
    rng = np.random.default_rng(seed)
    rank = min(rank, d)
    A = rng.integers(-4, 5, (d, rank)) * 2.0 ** rng.integers(0, steps + 1, rank)
    values = np.linalg.svd(A, compute_uv=False)
    assume(values[-1] > 1e-6 * values[0])
    condition = (values[0] / values[-1]) ** 2
    covariance = A @ A.T * 4.0**scale
    W = factor_of_covariance(covariance)
    assert W.shape == (d, rank)
    w = rng.integers(-5, 6, (12, rank))
    apart = w @ A.T * 2.0**scale
    X = np.full((1, d), offset * 2.0**scale)
    exact = np.linalg.norm(w, axis=1)[None]
    # Exact as long as no digit of the sum is lost: all are multiples of one power of two.
    assert np.array_equal((X + apart) - X, apart)
    assert error_of(pairs(X, X + apart, W)[0], exact) <= 1e-13 * max(condition, 1e2)


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
