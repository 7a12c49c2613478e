"""The update in CUDA C++: its numbers on a CPU, and what nvcc makes of it for GPUs."""

import numpy as np
import pytest
import torch

from fastclust_kernels.errors import BackendError
from fastclust_kernels.update import _cuda, update
from fastclust_kernels.update.reference import update as oracle
from tests.kernels import emulated

KERNELS = {"segment_float32", "segment_float64", "combine"}
#: Registers a thread when they were written; 64 let 1,024 threads be on a multiprocessor at once.
REGISTERS = {"sm_80": 32, "sm_90": 34}


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    """The kernels run one thread after the other."""
    with emulated.cuda_on_cpu(tmp_path_factory.mktemp("cuda")):
        yield


def right(X, labels, k, weights):
    with np.errstate(invalid="ignore"):
        sums, totals = _cuda.added(
            torch.from_numpy(X),
            None,
            torch.from_numpy(labels),
            k,
            None if weights is None else torch.from_numpy(weights),
        )
    expected = oracle(X, labels, k, weights)
    magnitude, _ = oracle(np.abs(X), labels, k, weights)
    assert (np.abs(sums.numpy() - expected[0]) <= 1e-12 * magnitude).all()
    np.testing.assert_allclose(totals, expected[1], rtol=1e-12)
    return sums


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (5, 3, 9), (1300, 7, 2), (1024, 130, 3), (200, 70, 30)])
def test_sums_are_the_oracles(on_cpu, n, d, k, weighted, dtype):
    """Clusters of one segment, of several, of exactly one and of none; one block of columns and two."""
    rng = np.random.default_rng(n)
    X, labels = rng.normal(size=(n, d)).astype(dtype), rng.integers(k, size=n).astype(np.int32)
    if n == 1024:
        labels[:] = np.arange(n) // 512
    sums = right(X, labels, k, rng.random(n) if weighted else None)
    assert torch.equal(sums, right(X, labels, k, None)) or weighted


def test_rows_of_a_list_are_added_and_what_is_of_no_cluster_is_not(on_cpu):
    rng = np.random.default_rng(0)
    X, rows = rng.normal(size=(50, 4)), rng.integers(50, size=90)
    labels, signs = rng.integers(4, size=90).astype(np.int32), rng.choice([-1.0, 1.0], 90)
    found = _cuda.added(*(torch.from_numpy(each) for each in (X, rows, labels)), 3, torch.from_numpy(signs))
    there = labels < 3
    np.testing.assert_allclose(found[0], oracle(X[rows[there]], labels[there], 3, signs[there])[0], atol=1e-13)


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("begin + length < last ? begin + length : last", "last"),
        ("starts[owner] + inside * length", "starts[owner]"),
        ("segment < end; ++segment) sum +=", "segment < end - 1; ++segment) sum +="),
    ],
)
def test_the_oracle_sees_a_wrong_kernel(on_cpu, tmp_path, line, instead):
    rng = np.random.default_rng(3)
    labels = rng.integers(2, size=1300).astype(np.int32)
    with emulated.changed(_cuda, line, instead, tmp_path), pytest.raises(AssertionError):
        right(rng.normal(size=(1300, 3)), labels, 2, None)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvcc_compiles_it_without_a_warning_or_a_spill(architecture, tmp_path):
    found = emulated.compiled(_cuda.SOURCE.read_text(), architecture, tmp_path)
    assert set(found) == KERNELS
    for stack, registers in found.values():
        assert stack == 0
        assert registers <= REGISTERS[architecture], found


@pytest.mark.parametrize(
    "worse",
    [
        "const int unused = 1;",
        "double many[64]; for (int i = 0; i < 64; ++i) many[(i * segment) % 64] = i; sums[0] = many[segment % 64];",
    ],
)
def test_a_warning_or_local_memory_is_an_error(worse, tmp_path):
    line = "  const int owner = owners[segment];"
    code = _cuda.SOURCE.read_text()
    assert line in code
    with pytest.raises(AssertionError):
        without_a_stack(emulated.compiled(code.replace(line, line + worse), "sm_90", tmp_path))


def without_a_stack(found):
    assert all(not stack for stack, _ in found.values())


def test_without_a_gpu_it_is_refused():
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    with pytest.raises(BackendError, match=r"cuda: .*needs a CUDA GPU"):
        update(np.zeros((2, 2)), np.zeros(2, int), 1, backend="cuda")


def test_k_means_adds_up_with_it_to_the_same_labels(on_cpu, monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    from fastclust.cluster.device_lloyd import lloyd_there
    from fastclust.cluster.device_rows import DeviceRows

    X = torch.from_numpy(np.random.default_rng(4).normal(size=(60, 3)))
    named = {"weights": None, "max_iter": 4, "tol": 0.0, "cosine": False}
    one, other = (lloyd_there(DeviceRows(X, each), X[:4].numpy(), **named) for each in ("cuda", "triton"))
    assert (one.backend, one.n_iter) == ("cuda", other.n_iter)
    assert np.array_equal(one.labels, other.labels)
    np.testing.assert_allclose(one.centers, other.centers, rtol=1e-13)
