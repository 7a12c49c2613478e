import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust_kernels.errors import InputError, InputTypeError
from fastclust_kernels.update import update
from fastclust_kernels.update.reference import update as oracle


def check(X, labels, k, weights, row):
    found = update(X, labels, k, weights=weights, backend=row.name)
    sums, total = oracle(X, labels, k, weights)
    magnitude, _ = oracle(np.abs(X), labels, k, weights)
    tolerance = row.tolerance[X.dtype.name]
    assert (np.abs(found.sums - sums) <= tolerance * magnitude + 1e-300).all()
    np.testing.assert_allclose(found.weights, total, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (5, 3, 9), (5000, 7, 2), (9000, 3, 1), (900, 70, 150)])
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_are_the_oracles(update_backend, interpreted, n, d, k, weighted, dtype):
    rng = np.random.default_rng(n)
    if interpreted(update_backend) and k > 20:
        n, k = 200, 30  # a program or more a cluster
    X, labels = rng.normal(size=(n, d)).astype(dtype), rng.integers(k, size=n).astype(np.int32)
    check(X, labels, k, rng.random(n) if weighted else None, update_backend)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 60), k=st.integers(1, 9), seed=st.integers(0, 999))
def test_empty_clusters_are_zero(n, k, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    found = update(rng.normal(size=(n, 2)), labels, k)
    empty = ~np.isin(np.arange(k), labels)
    assert not found.sums[empty].any()
    assert not found.weights[empty].any()
    assert found.weights.sum() == n


def test_the_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(1)
    X, labels = rng.normal(size=(20_000, 5)).astype(np.float32), rng.integers(3, size=20_000)
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            results.append(update(X, labels, 3).sums.tobytes())
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        (np.array([0, 3]), InputError),
        (np.array([-1, 0]), InputError),
        (np.array([0]), InputError),
        (np.array([0.0, 1.0]), InputTypeError),
    ],
)
def test_bad_labels_are_named(update_backend, labels, error):
    with pytest.raises(error, match="labels"):
        update(np.zeros((2, 2)), labels, 3, backend=update_backend.name)
