"""The certified assignment of GPUs, in Triton's interpreter where there is none: what the table's suites do not ask."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastclust_kernels.assign import assign
from fastclust_kernels.assign.reference import assign as oracle
from fastclust_kernels.assign.screening import ARITHMETIC
from fastclust_kernels.errors import BackendError, InputError, InputTypeError

KINDS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")


def right(X, centers, **named):
    """Labels are the oracle's wherever float64 sees one nearest centre."""
    found = assign(X, centers, backend="triton", **named)
    wide, kept = X.double().numpy(), centers.to(torch.promote_types(X.dtype, torch.float32)).double().numpy()
    labels, least = oracle(wide, kept)
    own = ((wide - kept[found.labels.numpy()]) ** 2).sum(axis=1)
    np.testing.assert_allclose(own, least, rtol=1e-13)
    assert (found.labels.numpy() == labels).mean() >= (1 if len(X) < 100 else 0.99)
    np.testing.assert_allclose(found.distances.numpy(), own, rtol=1e-12)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "d", "k"), [(200, 20, 30), (130, 300, 4)])
def test_all_kinds_of_rows_come_out_certified(kind, n, d, k):
    draw = torch.Generator().manual_seed(0)
    X, centers = torch.randn(n, d, generator=draw).to(kind), torch.randn(k, d, generator=draw).to(kind)
    found = right(X, centers)
    assert (found.labels.dtype, found.distances.dtype) == (torch.int32, torch.float64)
    assert 0.9 < found.certified <= 1


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(1, 20),
    d=st.integers(1, 6),
    k=st.integers(1, 12),
    scale=st.sampled_from([1e-42, 1e-30, 1e-3, 1.0, 1e6, 1e25]),
    offset=st.sampled_from([0.0, 1000.0]),
    levels=st.integers(1, 3),
    kind=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 999),
)
def test_ties_duplicates_offsets_and_scales(n, d, k, scale, offset, levels, kind, seed):
    rng = np.random.default_rng(seed)
    X, centers = (torch.from_numpy(scale * (offset + rng.integers(0, levels, (m, d)))).to(kind) for m in (n, k))
    right(X, centers)


def test_what_the_screen_cannot_decide_is_decided_in_float64():
    """Pairs of centres a hair apart: two candidates; many: all centres; exact copies: the lowest."""
    draw = torch.Generator().manual_seed(1)
    base = torch.randn(40, 16, generator=draw)
    X = base[torch.randint(40, (60,), generator=draw)] + 0.01 * torch.randn(60, 16, generator=draw)
    for copies in (2, 7):
        centers = torch.cat([base + 1e-5 * torch.randn(40, 16, generator=draw) for _ in range(copies)])
        assert right(X, centers).certified < 0.3
    found = right(X, torch.cat([base, base]))
    assert found.certified == 0
    assert (found.labels < 40).all()


def test_without_repair_a_label_is_one_of_those_that_the_screen_cannot_tell_apart():
    from fastclust_kernels.assign.device import DeviceAssignment

    draw = torch.Generator().manual_seed(6)
    base = torch.randn(12, 8, generator=draw)
    X, centers = torch.randn(70, 8, generator=draw), torch.cat([base + 1e-5, base])
    moving = DeviceAssignment(X, screening=ARITHMETIC["half"])
    labels = moving.step(centers).long()
    assert moving.certified < 0.3
    apart = torch.cdist(X.double(), centers.double()).square()
    own = apart[torch.arange(70), labels]
    assert (own <= apart.amin(dim=1) + 1e-2).all()
    # What float64 would have decided otherwise.
    assert not torch.equal(labels, DeviceAssignment(X).step(centers).long())


def test_a_bound_on_the_second_nearest_holds_and_is_near():
    draw = torch.Generator().manual_seed(2)
    X, centers = torch.randn(150, 12, generator=draw), torch.randn(40, 12, generator=draw)
    centers[7] = centers[3] + 1e-6
    found = right(X, centers, second=True)
    distances = torch.cdist(X.double(), centers.double()).square()
    distances[torch.arange(150), found.labels.long()] = torch.inf
    nearest = distances.amin(dim=1)
    assert (found.beyond <= nearest).all()
    sure = nearest > found.distances * (1 + 1e-3)
    assert (found.beyond > 0.95 * nearest)[sure].all()
    with pytest.raises(BackendError, match="second=True"):
        assign(X, centers, second=True)


@pytest.mark.parametrize("wrong", ["no doubt", "no repair"])
def test_the_oracle_sees_a_wrong_kernel(monkeypatch, wrong):
    from fastclust_kernels.assign import _triton

    draw = torch.Generator().manual_seed(3)
    X, base = torch.randn(90, 24, generator=draw), torch.randn(60, 24, generator=draw)
    centers = torch.cat([base, base + 1e-4 * torch.randn(60, 24, generator=draw)])
    right(X, centers)
    if wrong == "no doubt":
        monkeypatch.setattr(_triton, "_doubt", lambda norms, _losses, at, *_: _triton.tl.load(norms + at) * 0)
    else:
        monkeypatch.setattr(_triton, "settle", lambda *_: None)
    with pytest.raises(AssertionError):
        right(X, centers)


def test_steps_are_the_same_bits_again_and_poisoned_labels_are_all_written():
    from fastclust_kernels.assign.device import DeviceAssignment

    draw = torch.Generator().manual_seed(4)
    X = torch.randn(300, 10, generator=draw)
    moving, again = DeviceAssignment(X), DeviceAssignment(X.clone())
    for step in range(3):
        centers = torch.randn(20, 10, generator=draw)
        labels = moving.step(centers).clone()
        assert torch.equal(labels, again.step(centers))
        assert np.array_equal(labels.numpy(), oracle(X.numpy(), centers.numpy())[0]), step
        moving._labels.fill_(-1)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
def test_centres_that_left_the_range_of_the_first_ones_are_still_right():
    """They overflow float16: nothing is certain then, and all rows are decided in float64."""
    from fastclust_kernels.assign.device import DeviceAssignment

    X = torch.randn(40, 3, generator=torch.Generator().manual_seed(5))
    moving = DeviceAssignment(X)
    moving.step(X[:5])
    centers = X[:5] * 1e4
    assert np.array_equal(moving.step(centers).numpy(), oracle(X.numpy(), centers.numpy())[0])
    assert moving.certified == 0


def test_a_new_number_of_rows_is_no_new_kernel():
    from fastclust_kernels.assign import _triton, _triton_exact, _triton_split

    for kernel in (_triton_split.split_kernel, _triton.screen_kernel, _triton_exact.own_kernel):
        # Interpreted functions do not keep what they were decorated with.
        plain = _triton.triton.JITFunction(kernel.fn, do_not_specialize=["n"])
        assert next(each for each in plain.params if each.name == "n").do_not_specialize
    source = "".join(map(inspect.getsource, (_triton, _triton_split, _triton_exact)))
    assert source.count('@triton.jit(do_not_specialize=["n"])') == 3
    assert "n: tl.constexpr" not in source


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (torch.tensor([[0.0, torch.nan]]), InputError, "nan at row 0, column 1"),
        (torch.tensor([[0.0, 1.0], [-torch.inf, 0.0]]), InputError, "-inf at row 1, column 0"),
        (torch.zeros(3), InputError, "two dimensions"),
        (torch.zeros(0, 2), InputError, "at least one row"),
        (torch.zeros(2, 3), InputError, "2 columns"),
        (torch.zeros(1, 2, dtype=torch.complex64), InputTypeError, "complex"),
        (np.array([["a", "b"]]), InputTypeError, "dtype <U1"),
    ],
)
def test_bad_rows_are_named(X, error, words):
    with pytest.raises(error, match=words):
        assign(X, torch.zeros(1, 2), backend="triton")


def test_without_a_gpu_or_the_interpreter_it_is_refused(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(BackendError, match="triton: needs a CUDA GPU, or TRITON_INTERPRET=1"):
        assign(np.zeros((2, 2)), np.zeros((1, 2)), backend="triton")
    assert assign(np.zeros((2, 2)), np.zeros((1, 2))).backend == "numba"


def test_arrays_come_back_in_kind():
    X = np.arange(12.0).reshape(6, 2)
    X.flags.writeable = False
    found = assign(X, X[:2], backend="triton")
    assert isinstance(found.labels, np.ndarray)
    assert found.labels.tolist() == [0, 1, 1, 1, 1, 1]
    assert assign(np.arange(12).reshape(6, 2), X[:2], backend="triton").labels.tolist() == [0, 1, 1, 1, 1, 1]
