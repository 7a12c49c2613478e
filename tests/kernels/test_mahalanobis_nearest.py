"""The nearest of m, against the float64 oracle."""

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust_kernels.errors import InputError, InputTypeError
from fastclust_kernels.mahalanobis import _nearest, nearest

TOLERANCE = {np.float32: 2e-6, np.float64: 1e-12}


def agree(X, Y, factor, k, backend="numba", **named):
    """Numbers are the oracle's; distances are within the tolerance."""
    found = nearest(X, Y, factor, k, backend=backend, **named)
    oracle = nearest(X, Y, factor, k, backend="reference", **named)
    assert found.backend == backend
    assert found.distances.dtype == X.dtype
    same = found.indices == oracle.indices
    if not same.all():
        # Only what is tied to the last digits of float64 may change places.
        gap = np.abs(found.distances / np.where(oracle.distances > 0, oracle.distances, 1) - 1)[~same]
        assert gap.max() <= (2e-15 if X.dtype == np.float64 else 2e-7)
        assert np.array_equal(np.sort(found.indices), np.sort(oracle.indices))
    np.testing.assert_allclose(found.distances, oracle.distances, rtol=TOLERANCE[X.dtype.type], atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("d", "m"), [(1, 50), (3, 700), (64, 333), (300, 65)])
@pytest.mark.parametrize(("offset", "separation"), [(0, 1), (1000, 1e-3)])
def test_the_nearest_are_the_oracles(mahalanobis_backend, dtype, d, m, offset, separation):
    rng = np.random.default_rng(d)
    # Triton's interpreter takes its time.
    few = mahalanobis_backend.name == "triton"
    X = (offset + separation * rng.normal(size=(9 if few else 77, d))).astype(dtype)
    Y = (offset + separation * rng.normal(size=(m, d))).astype(dtype)
    factor = rng.normal(size=(d, d)) + 2 * np.eye(d)
    for k in (7,) if few else (1, 7, min(m, 50)):
        agree(X, Y, factor, k, mahalanobis_backend.name)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 40),
    distinct=st.integers(1, 60),
    copies=st.integers(1, 9),
    d=st.integers(1, 20),
    k=st.integers(1, 12),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 999),
)
def test_ties_go_to_the_lowest_number(n, distinct, copies, d, k, dtype, seed):
    """Whole numbers, many of them alike: all is exact, so the numbers must be the oracle's to the last."""
    rng = np.random.default_rng(seed)
    Y = np.repeat(rng.integers(-2, 3, size=(distinct, d)), copies, axis=0)[rng.permutation(distinct * copies)]
    X = rng.integers(-2, 3, size=(n, d)).astype(dtype)
    k = min(k, len(Y))
    found = nearest(X, Y.astype(dtype), np.eye(d), k)
    oracle = nearest(X, Y.astype(dtype), np.eye(d), k, backend="reference")
    assert np.array_equal(found.indices, oracle.indices)
    np.testing.assert_allclose(found.distances, oracle.distances, rtol=4e-7 if dtype == np.float32 else 1e-15)


def test_more_alike_than_candidates_are_kept(mahalanobis_backend, interpreted):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9 if interpreted(mahalanobis_backend) else 30, 12)).astype(np.float32)
    Y = np.repeat(X[:3], 500, axis=0) + rng.choice([0, 1e-7], size=(1500, 12)).astype(np.float32)
    agree(X, Y, np.eye(12), 5, mahalanobis_backend.name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_others_only(mahalanobis_backend, interpreted, dtype):
    backend = mahalanobis_backend.name
    rng = np.random.default_rng(1)
    n = 40 if interpreted(mahalanobis_backend) else 120
    X = np.repeat(rng.normal(size=(n // 2, 9)), 2, axis=0).astype(dtype)
    agree(X, X, np.eye(9), 4, backend, others_only=True)
    found = nearest(X, X, np.eye(9), 1, others_only=True, backend=backend)
    assert np.array_equal(found.indices[:, 0], np.arange(n) ^ 1)
    assert not found.distances.any()
    assert nearest(X, X, np.eye(9), n - 1, others_only=True, backend=backend).indices.shape == (n, n - 1)


@pytest.mark.parametrize("scale", [1e-25, 1e18, 1e25])
def test_numbers_that_float32_cannot_square(mahalanobis_backend, scale):
    rng = np.random.default_rng(0)
    X, Y = ((scale * rng.normal(size=(n, 7))).astype(np.float32) for n in (9, 90))
    agree(X, Y, np.eye(7), 6, mahalanobis_backend.name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_depends_on_blocks_order_or_threads(monkeypatch, dtype):
    rng = np.random.default_rng(2)
    X, Y, factor = rng.normal(size=(200, 16)).astype(dtype), rng.normal(size=(500, 16)).astype(dtype), np.eye(16)
    whole = nearest(X, Y, factor, 8)
    order = rng.permutation(200)
    assert np.array_equal(nearest(X[order], Y, factor, 8).indices, whole.indices[order])
    others = rng.permutation(500)
    assert np.array_equal(others[nearest(X, Y[others], factor, 8).indices], whole.indices)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = nearest(X, Y, factor, 8)
    finally:
        numba.set_num_threads(threads)
    assert np.array_equal(one.indices, whole.indices)
    assert np.array_equal(one.distances, whole.distances)
    monkeypatch.setattr(_nearest, "slab_of", lambda _rank: 33)
    monkeypatch.setattr(_nearest, "_MOST_ROWS", 8)
    monkeypatch.setattr(_nearest, "_PANEL_BYTES", 1)
    pieces = nearest(X, Y, factor, 8)
    assert np.array_equal(pieces.indices, whole.indices)
    assert np.array_equal(pieces.distances, whole.distances)
    assert np.array_equal(nearest(X, X, factor, 3, others_only=True).indices, agree_self(X, factor))


def agree_self(X, factor):
    return nearest(X, X, factor, 3, others_only=True, backend="reference").indices


def test_the_oracle_sees_a_wrong_kernel(monkeypatch):
    rng = np.random.default_rng(0)
    X, Y = ((1000 + 1e-3 * rng.normal(size=(n, 8))).astype(np.float32) for n in (50, 400))
    agree(X, Y, np.eye(8), 3)
    right = _nearest.map_of
    monkeypatch.setattr(_nearest, "map_of", lambda W, shift: right(W * np.linspace(1, 1.3, 8), shift))
    with pytest.raises(AssertionError):
        agree(X, Y, np.eye(8), 3)


def test_a_number_that_stands_for_a_whole_list_is_read_as_often(monkeypatch):
    """Of a single row, its number; what lies behind it in memory is another's."""
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    from fastclust_kernels.mahalanobis import _triton

    X = torch.arange(40.0).reshape(20, 2)
    first, second = torch.tensor([3, *range(4, 20)])[:1].expand(9), torch.arange(9)
    found = _triton.exact(X, X, first, second, torch.eye(2, dtype=torch.float64))
    assert torch.equal(found, (X[3] - X[:9]).double().square().sum(dim=1))


@pytest.mark.parametrize("wrong", [0, 31, -1])
def test_a_number_of_neighbours_there_cannot_be(wrong):
    with pytest.raises(InputError, match="n_neighbors"):
        nearest(np.ones((4, 3)), np.ones((30, 3)), np.eye(3), wrong)
    with pytest.raises(InputError, match="n_neighbors"):
        nearest(np.ones((4, 3)), np.ones((4, 3)), np.eye(3), 4, others_only=True)
    with pytest.raises(InputTypeError, match="n_neighbors"):
        nearest(np.ones((4, 3)), np.ones((30, 3)), np.eye(3), 2.0)
