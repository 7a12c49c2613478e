"""Many problems at once: what each of them has by itself, and what the oracle says."""

import numpy as np
import pytest
import torch

from fastclust_kernels.assign import assign
from fastclust_kernels.assign.reference import assign as oracle
from fastclust_kernels.batch import assign_batch, update_batch
from fastclust_kernels.errors import BackendError, InputError, InputTypeError
from fastclust_kernels.update import update
from fastclust_kernels.update.reference import update as sums_oracle

#: One row, one centre, one problem; tiles that are not full, and one row and centre more than a tile.
SHAPES = [(1, 1, 1, 1), (3, 1, 4, 2), (1, 129, 3, 1), (2, 130, 17, 129), (5, 7, 70, 3), (3, 33, 300, 6)]


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")


def drawn(b, n, d, k, dtype=np.float32, seed=0):
    """Problems of different scales and origins."""
    rng = np.random.default_rng(seed + b + n)
    far, wide = 1000.0 * (np.arange(b) % 2)[:, None, None], 10.0 ** np.arange(b)[:, None, None]
    return tuple((far + wide * rng.normal(size=(b, m, d))).astype(dtype) for m in (n, k))


def check(X, centers, found):
    assert found.labels.dtype in (np.int32, torch.int32)
    for problem, (x, c) in enumerate(zip(X, centers, strict=True)):
        labels, least = oracle(x, c)
        assert np.array_equal(np.asarray(found.labels[problem]), labels), problem
        np.testing.assert_allclose(np.asarray(found.distances[problem]), least, rtol=1e-12)


@pytest.mark.parametrize("backend", ["numba", "triton"])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_problem_has_the_oracles_labels_and_distances(backend, shape):
    X, centers = drawn(*shape)
    found = assign_batch(X, centers, backend=backend)
    assert found.backend == backend
    check(X, centers, found)
    alone = [assign(x, c, backend=backend) for x, c in zip(X, centers, strict=True)]
    assert np.array_equal(found.labels, np.stack([each.labels for each in alone]))
    assert found.distances.tobytes() == np.stack([each.distances for each in alone]).tobytes()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_and_tensors_in_kind(kind):
    X, centers = (torch.from_numpy(part).to(kind) for part in drawn(2, 20, 5, 4))
    found = assign_batch(X, centers, backend="triton")
    assert isinstance(found.labels, torch.Tensor)
    check(X.double().numpy(), centers.double().numpy(), found)
    assert 0 <= found.certified <= 1


def test_rows_in_doubt_are_decided_in_their_own_problem():
    """Copies of centres in one problem, near ones in another, none in the third."""
    rng = np.random.default_rng(1)
    X, base = rng.normal(size=(3, 40, 8)).astype(np.float32), rng.normal(size=(3, 10, 8)).astype(np.float32)
    apart = np.array([0.0, 1e-5, 1.0], np.float32)[:, None, None] * rng.normal(size=base.shape)
    centers = np.concatenate([base, base + apart], axis=1).astype(np.float32)
    found = assign_batch(X, centers, backend="triton")
    check(X, centers, found)
    assert (found.labels[0] < 10).all()
    assert 0.2 < found.certified < 0.5


@pytest.mark.parametrize("backend", ["numba", "triton", "reference"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 1, 4, 2), (2, 1100, 3, 2), (4, 40, 70, 50)])
def test_sums_are_the_oracles_and_have_the_bits_of_one_problem(backend, weighted, shape):
    b, n, _, k = shape
    X, _ = drawn(*shape)
    rng = np.random.default_rng(0)
    labels, weights = rng.integers(k, size=(b, n)), rng.random((b, n)) if weighted else None
    found = update_batch(X, labels, k, weights=weights, backend=backend)
    for problem in range(b):
        each = None if weights is None else weights[problem]
        alone = update(X[problem], labels[problem], k, weights=each, backend=backend)
        assert found.sums[problem].tobytes() == alone.sums.tobytes()
        assert found.weights[problem].tobytes() == alone.weights.tobytes()
        sums, total = sums_oracle(X[problem], labels[problem], k, each)
        size = sums_oracle(np.abs(X[problem]), labels[problem], k, each)[0]
        assert (np.abs(found.sums[problem] - sums) <= 1e-12 * size + 1e-300).all()
        np.testing.assert_allclose(found.weights[problem], total, rtol=1e-12)


def test_what_is_too_much_for_one_launch_comes_in_several(monkeypatch):
    from fastclust_kernels import batch

    X, _ = drawn(5, 9, 3, 4)
    labels = np.random.default_rng(0).integers(4, size=(5, 9))
    whole = update_batch(X, labels, 4, backend="triton")
    monkeypatch.setattr(batch, "_MOST", 19)
    parts = update_batch(X, labels, 4, backend="triton")
    assert whole.sums.tobytes() == parts.sums.tobytes()
    assert whole.weights.tobytes() == parts.weights.tobytes()


@pytest.mark.parametrize("wrong", ["screen", "settle"])
def test_the_oracle_sees_problems_that_are_mixed_up(monkeypatch, wrong):
    """Centres, or rows to decide again, of another problem."""
    from fastclust_kernels.assign import _triton, _triton_exact

    rng = np.random.default_rng(3)
    X, base = rng.normal(size=(2, 60, 6)).astype(np.float32), rng.normal(size=(2, 8, 6)).astype(np.float32)
    # Copies leave all to be decided again; without them the screen decides.
    centers = base if wrong == "screen" else np.concatenate([base, base * np.float32(1 + 1e-5)], axis=1)
    check(X, centers, assign_batch(X, centers, backend="triton"))
    where, name = (_triton, "screen") if wrong == "screen" else (_triton_exact, "decide")
    sound = getattr(where, name)

    def mixed(*arguments, **named):
        arguments = list(arguments)
        if wrong == "screen":
            copies, halves = arguments[3]
            arguments[3] = copies.flip(0).contiguous(), halves.flip(0).contiguous()
        else:
            arguments[1] = arguments[1].flip(0).contiguous()
        return sound(*arguments, **named)

    monkeypatch.setattr(where, name, mixed)
    with pytest.raises(AssertionError):
        check(X, centers, assign_batch(X, centers, backend="triton"))


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_what_does_not_fit_is_refused(backend):
    X, centers = drawn(2, 5, 3, 2)
    for wrong, words in (
        (centers[:1], r"shape \(1, 2, 3\).*\(2, k, 3\)"),
        (centers[:, :, :2], r"\(2, k, 3\)"),
        (centers[0], "three dimensions"),
        (np.where(centers > 0, np.nan, centers), "nan"),
    ):
        with pytest.raises(InputError, match=words):
            assign_batch(X, wrong, backend=backend)
    with pytest.raises(InputError, match="none of them 0"):
        assign_batch(X[:, :0], centers, backend=backend)
    with pytest.raises(InputError, match=r"labels: got 3\.\.3; allowed: 0\.\.1"):
        update_batch(X, np.full((2, 5), 3), 2, backend=backend)
    with pytest.raises(InputTypeError, match="integers"):
        update_batch(X, np.zeros((2, 5)), 2, backend=backend)
    with pytest.raises(InputError, match="one a row"):
        update_batch(X, np.zeros((2, 4), int), 2, backend=backend)
    with pytest.raises(InputError, match="one a row"):
        update_batch(X, np.zeros((2, 5), int), 2, weights=np.ones(5), backend=backend)


def test_what_there_is_not_is_said():
    X, centers = drawn(2, 5, 3, 2)
    with pytest.raises(BackendError, match="backend='tpu'"):
        assign_batch(X, centers, backend="tpu")
