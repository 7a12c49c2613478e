"""Rows of few columns to components in CUDA C++: its numbers on a CPU, and what nvcc makes of it for GPUs."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fastclust as fc
from fastclust_kernels import dispatch, passes
from fastclust_kernels.errors import BackendError
from fastclust_kernels.mahalanobis import COMPONENT_BACKENDS, _cuda, few, to_components
from fastclust_kernels.mahalanobis.reference import to_components as oracle
from tests.kernels import emulated

#: Registers a thread with most columns when it was written: 128 threads have 255 each.
REGISTERS = {0: 190, 1: 128}


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    """The kernels run one thread after the other."""
    with emulated.cuda_on_cpu(tmp_path_factory.mktemp("cuda")):
        yield


def right(X, means, factors, squared=False):
    """What the kernel makes, which is the oracle's to some roundings of the length of what is mapped."""
    n, k = len(X), len(means)
    out = torch.full((n, k), -1.0, dtype=torch.from_numpy(X).dtype)
    _cuda.to_components(*(torch.from_numpy(each) for each in (X, means, factors)), out, squared=squared)
    exact = np.empty((n, k), np.float64)
    oracle(X.astype(np.float64), means, factors, exact, squared=False)
    lengths = np.linalg.norm(X[:, None].astype(np.float64) - means, axis=2) * np.linalg.norm(factors, axis=(1, 2))
    found = np.sqrt(out.numpy().astype(np.float64)) if squared else out.numpy()
    assert (np.abs(found - exact) <= 20 * np.finfo(X.dtype).eps / 2 * lengths).all()
    return out


def problem(n, k, d, rank, dtype, seed=0, upper=False):
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(k, d, rank))
    return rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(k, d)), np.triu(factors) if upper else factors


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize(
    ("n", "k", "d"), [(1, 1, 1), (300, 3, 2), (40, 129, 3), (17, 130, 5), (9, 300, 8), (2100, 1, 4)]
)
def test_distances_are_the_oracles(on_cpu, n, k, d, upper, dtype):
    """Fewer components than a block has threads, one more, several blocks; one row a thread and many."""
    rows = problem(n, k, d, d, dtype, upper=upper)
    right(*rows)
    right(*rows, squared=True)


@settings(deadline=None, max_examples=12)
@given(n=st.integers(1, 70), k=st.integers(1, 70), d=st.integers(1, 8), rank=st.integers(1, 8), seed=st.integers(0, 99))
def test_any_shape_and_rank(on_cpu, n, k, d, rank, seed):
    """A factor may have fewer columns than rows, or more."""
    right(*problem(n, k, d, rank, np.float64, seed, upper=seed % 2 == 0))


def test_an_offset_costs_nothing_and_a_row_on_a_mean_is_at_zero(on_cpu):
    rng = np.random.default_rng(1)
    X = (1000 + 1e-3 * rng.normal(size=(50, 3))).astype(np.float32)
    means = 1000 + 1e-3 * rng.normal(size=(4, 3))
    means[0] = X[7]
    found = right(X, means, np.stack([np.eye(3) * 10.0**scale for scale in range(4)]))
    assert found[7, 0] == 0


def test_bits_do_not_depend_on_how_many_rows_and_components_there_are(on_cpu):
    X, means, factors = problem(60, 40, 4, 4, np.float64)
    whole = right(X, means, factors)
    assert torch.equal(right(X[20:33], means, factors), whole[20:33])
    assert torch.equal(right(X, means[3:9], factors[3:9]), whole[:, 3:9])


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("(UPPER ? c + 1 : COLUMNS)", "(UPPER ? c : COLUMNS)"),
        ("if (component >= k) return;", "if (component + 1 >= k) return;"),
        ("row < n; row += step", "row < n; row += step + 1"),
        ("- mean[j]", "- static_cast<float>(mean[j])"),
    ],
)
def test_the_oracle_sees_a_wrong_kernel(on_cpu, tmp_path, line, instead):
    with emulated.changed(_cuda, line, instead, tmp_path), pytest.raises(AssertionError):
        right(*problem(2100, 3, 3, 3, np.float64, upper=True))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("upper", [0, 1])
def test_nvcc_compiles_it_without_a_warning_or_a_spill(architecture, upper, tmp_path):
    most = {"COLUMNS": few.MOST, "RANK": few.MOST, "UPPER": upper}
    for number in ("float", "double"):
        found = emulated.compiled(_cuda.SOURCE.read_text(), architecture, tmp_path, NUMBER=number, **most)
        ((stack, registers),) = found.values()
        assert not stack
        assert registers <= REGISTERS[upper], found


def test_without_a_gpu_and_for_many_columns_it_is_refused():
    X, means, factors = problem(3, 2, few.MOST + 1, few.MOST + 1, np.float64)
    with pytest.raises(BackendError, match=rf"cuda: .*takes at most {few.MOST} columns"):
        to_components(X, means, factors, backend="cuda")
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    few_columns = problem(3, 2, 2, 2, np.float64)
    with pytest.raises(BackendError, match=r"components: backend='cuda' .*cuda: .*needs a CUDA GPU") as refused:
        fc.mahalanobis_to_components(few_columns[0], few_columns[1], factors=few_columns[2], backend="cuda")
    assert not re.search(r"cuda: [^;)]*columns", str(refused.value))


def test_auto_takes_it_for_few_columns_once_it_has_passed(monkeypatch):
    monkeypatch.setattr(passes, "recorded", lambda *_: True)
    monkeypatch.setattr(dispatch, "find_spec", lambda _: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def chosen(columns, dtype="float32"):
        asked = dispatch.Request("cuda", dtype, "sm_90", columns)
        return dispatch.choose("components", COMPONENT_BACKENDS, asked, "auto").name

    assert [chosen(columns) for columns in (1, 8, 9)] == ["cuda", "cuda", "triton"]
    assert chosen(3, "float16") == "triton"


def test_what_asks_for_it_by_name_gets_it(on_cpu, monkeypatch):
    """From the public name to the kernel, with a CPU that stands for the GPU."""
    stands = dispatch.Backend("cuda", COMPONENT_BACKENDS[1].run, ("cpu",), ("float32", "float64"))
    monkeypatch.setattr("fastclust_kernels.mahalanobis.COMPONENT_BACKENDS", (stands,))
    monkeypatch.setattr("fastclust_kernels.tensors.device_for_kernels", lambda: torch.device("cpu"))
    X, means, factors = problem(30, 4, 3, 3, np.float32)
    found = fc.mahalanobis_to_components(X, means, factors=factors, backend="cuda")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, right(X, means, factors))
    out = np.empty((30, 4), np.float32)
    assert fc.mahalanobis_to_components(X, means, factors=factors, backend="cuda", out=out) is out
    np.testing.assert_array_equal(out, found)
