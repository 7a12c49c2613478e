import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust_kernels.assign import BACKENDS, assign, distances_to_few, distances_to_listed
from fastclust_kernels.assign.fixed import FixedCenters
from fastclust_kernels.assign.reference import assign as oracle
from fastclust_kernels.errors import BackendError, InputError, InputTypeError

DTYPES = [np.float32, np.float64]


def check(X, centers, row):
    """Labels as by brute force in float64; where that is tied to float64's precision, as near as the nearest."""
    found = assign(X, centers, backend=row.name)
    labels, least = oracle(X, centers)
    own = ((X.astype(np.float64) - centers.astype(np.float64)[found.labels]) ** 2).sum(axis=1)
    tolerance = row.tolerance[X.dtype.name]
    assert found.labels.dtype == np.int32
    assert found.backend == row.name
    np.testing.assert_allclose(found.distances, own, rtol=tolerance, atol=1e-300)
    np.testing.assert_allclose(own, least, rtol=tolerance, atol=1e-300)
    assert (found.labels == labels).mean() > 0.999 or len(X) < 1000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "d", "k"),
    [(1, 1, 1), (1, 5, 3), (7, 1, 7), (513, 3, 257), (2000, 64, 300), (40, 4096, 5), (1025, 17, 512), (3, 2, 600)],
)
def test_labels_and_distances_are_the_oracles(assign_backend, interpreted, n, d, k, dtype):
    rng = np.random.default_rng(n + d + k)
    if interpreted(assign_backend):
        n, d = min(n, 200), min(d, 1030)
    check(rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(k, d)).astype(dtype), assign_backend)


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 40),
    d=st.integers(1, 6),
    k=st.integers(1, 12),
    scale=st.sampled_from([1e-3, 1.0, 1e6]),
    offset=st.sampled_from([0.0, 1000.0]),
    levels=st.integers(1, 3),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**31),
)
def test_ties_duplicates_offsets_and_scales(n, d, k, scale, offset, levels, dtype, seed):
    """A few levels only: duplicates and exact ties everywhere."""
    rng = np.random.default_rng(seed)
    X = (offset + scale * rng.integers(0, levels, (n, d))).astype(dtype)
    centers = (offset + scale * rng.integers(0, levels, (k, d))).astype(dtype)
    check(X, centers, BACKENDS[0])


def test_exact_ties_go_to_the_lowest_index(assign_backend):
    centers = np.array([[3.0], [1.0], [-1.0], [1.0]])
    found = assign(np.array([[0.0], [1.0], [2.0]]), centers, backend=assign_backend.name)
    assert found.labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_offset_of_1000_with_a_separation_of_1e3th_is_told_apart(assign_backend, dtype):
    rng = np.random.default_rng(0)
    centers = (1000 + 1e-3 * rng.normal(size=(20, 16))).astype(dtype)
    X = centers[rng.integers(20, size=500)] + np.asarray(1e-5, dtype)
    found = assign(X, centers, backend=assign_backend.name)
    assert np.array_equal(found.labels, oracle(X, centers)[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bits_do_not_depend_on_the_number_of_threads(dtype):
    rng = np.random.default_rng(1)
    X, centers = rng.normal(size=(5000, 33)).astype(dtype), rng.normal(size=(70, 33)).astype(dtype)
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            results.append(assign(X, centers))
    finally:
        numba.set_num_threads(before)
    assert results[0].labels.tobytes() == results[1].labels.tobytes()
    assert results[0].distances.tobytes() == results[1].distances.tobytes()


def test_the_order_of_the_rows_does_not_matter():
    rng = np.random.default_rng(2)
    X, centers = rng.normal(size=(1500, 8)), rng.normal(size=(30, 8))
    order = rng.permutation(len(X))
    assert np.array_equal(assign(X[order], centers).labels, assign(X, centers).labels[order])


def test_strided_read_only_and_integer_rows_are_taken():
    base = np.random.default_rng(3).integers(0, 9, (40, 12))
    centers = base[:4, ::2].astype(float)
    base.flags.writeable = False
    found = assign(base[::2, ::2], centers)
    assert np.array_equal(found.labels, oracle(base[::2, ::2].astype(float), centers)[0])


def test_torch_tensors_come_back_as_tensors():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    X = torch.arange(12, dtype=torch.float32).reshape(6, 2)
    found = assign(X, X[:2])
    assert isinstance(found.labels, torch.Tensor)
    assert found.labels.tolist() == [0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (np.array([[0.0, np.nan]]), InputError, "nan at row 0, column 1"),
        (np.array([[np.inf, 0.0]]), InputError, "inf at row 0, column 0"),
        (np.zeros(3), InputError, "two dimensions"),
        (np.zeros((0, 2)), InputError, "at least one row"),
        (np.zeros((2, 3)), InputError, "2 columns"),
        (np.array([["a", "b"]]), InputTypeError, "dtype <U1"),
        (np.array([[1j, 2]]), InputTypeError, "complex"),
    ],
)
def test_bad_rows_are_named(X, error, words):
    with pytest.raises(error, match=words):
        assign(X, np.zeros((1, 2)))


def test_an_unknown_backend_raises_with_the_reasons_of_all():
    with pytest.raises(
        BackendError, match=r"backend='cuda'.*numba: would run.*Allowed: auto, numba, triton, reference"
    ):
        assign(np.zeros((2, 2)), np.zeros((1, 2)), backend="cuda")


def test_two_threads_at_once_do_not_abort_under_the_workqueue_layer():
    code = """
import threading, numpy as np
from fastclust_kernels.assign import assign
X = np.random.default_rng(0).normal(size=(4000, 16))
wanted = assign(X, X[:50]).labels
bad = []
def work():
    for _ in range(30):
        if not np.array_equal(assign(X, X[:50]).labels, wanted):
            bad.append(1)
threads = [threading.Thread(target=work) for _ in range(2)]
[t.start() for t in threads]
[t.join() for t in threads]
import numba
print(numba.threading_layer(), len(bad))
"""
    layer = {"NUMBA_THREADING_LAYER": "workqueue"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=layer, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["workqueue", "0"]


@pytest.mark.parametrize(("one", "other"), [("float32", "float32"), ("float64", "float32"), ("float64", "float64")])
def test_distances_to_listed_rows_are_exact_differences(one, other):
    rng = np.random.default_rng(0)
    X, rows = (1e4 + rng.normal(size=(7, 5))).astype(one), (1e4 + rng.normal(size=(9, 5))).astype(other)
    listed = rng.integers(-1, 9, (7, 4))
    gaps = X[:, None].astype(np.float64) - rows[listed].astype(np.float64)
    wanted = np.where(listed < 0, np.inf, (gaps**2).sum(axis=2))
    rows.flags.writeable = False
    np.testing.assert_allclose(distances_to_listed(X, rows, listed), wanted, rtol=1e-14)


def test_distances_to_few_are_exact_differences():
    rng = np.random.default_rng(4)
    X = (1000 + 1e-3 * rng.normal(size=(50, 7))).astype(np.float32)
    exact = ((X[:3, None].astype(float) - X[None].astype(float)) ** 2).sum(axis=2)
    np.testing.assert_allclose(distances_to_few(X, X[:3]), exact, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_centres_prepared_once_give_the_same_labels_to_few_rows_and_to_many(dtype, offset):
    rng = np.random.default_rng(0)
    X = (offset + rng.normal(size=(700, 40))).astype(dtype)
    fixed = FixedCenters(X[:300].astype(np.float32))
    expected = oracle(X, fixed.centers.astype(dtype))[0]
    for rows in (slice(0, 1), slice(3, 20), slice(0, 700)):
        assert np.array_equal(fixed.labels(X[rows]), expected[rows])
