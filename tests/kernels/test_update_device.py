"""Sums on a torch device, in Triton's interpreter where there is no GPU: what the table's suites do not ask."""

import numpy as np
import pytest
import torch

from fastclust_kernels.update import update
from fastclust_kernels.update.reference import update as oracle


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_changed_rows_are_the_sums_of_all(weighted):
    from fastclust_kernels.update.device import DeviceSums

    rng = np.random.default_rng(4)
    X = rng.normal(size=(600, 6)).astype(np.float32)
    weights = rng.random(600) if weighted else None
    labels = rng.integers(7, size=600).astype(np.int32)
    moving = DeviceSums(torch.from_numpy(X), 9, None if weights is None else torch.from_numpy(weights))
    for step in range(5):
        before = labels
        if step:
            labels = labels.copy()
            # The last step changes most of them, so that all are added up anew.
            labels[rng.choice(600, 30 if step < 4 else 500, replace=False)] = rng.integers(9)
        sums, total, changed = moving.step(torch.from_numpy(labels))
        expected = oracle(X, labels, 9, weights)
        np.testing.assert_allclose(sums, expected[0], atol=1e-11)
        np.testing.assert_allclose(total, expected[1], atol=1e-11)
        assert changed == (600 if not step else (labels != before).sum())
    state = moving.state()
    other = DeviceSums(torch.from_numpy(X), 9, None if weights is None else torch.from_numpy(weights))
    other.restore(state, torch.from_numpy(labels))
    labels = labels.copy()
    labels[:9] = 0
    for one, again in zip(moving.step(torch.from_numpy(labels)), other.step(torch.from_numpy(labels)), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(again))


def test_a_cluster_that_lost_its_rows_is_exactly_empty_and_one_that_lost_a_giant_is_exact():
    from fastclust_kernels.update.device import DeviceSums

    X = torch.tensor([[1e12], [1.0], [2.0], [0.1], [0.2], [0.3]], dtype=torch.float64)
    moving = DeviceSums(X, 3, torch.tensor([1.0, 1.0, 1.0, 0.1, 0.2, 0.3], dtype=torch.float64))
    moving.step(torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.int32))
    sums, _, changed = moving.step(torch.tensor([2, 0, 0, 1, 1, 1], dtype=torch.int32))
    assert (changed, float(sums[0, 0])) == (1, 3.0)
    for labels in ([2, 0, 0, 1, 1, 2], [2, 0, 0, 1, 2, 2], [2, 0, 0, 2, 2, 2]):
        sums, total, _ = moving.step(torch.tensor(labels, dtype=torch.int32))
    assert (float(total[1]), float(sums[1, 0])) == (0.0, 0.0)


def test_the_same_labels_give_the_same_bits_and_float16_is_added_in_float64():
    draw = torch.Generator().manual_seed(0)
    X, labels = torch.randn(1500, 5, generator=draw), torch.randint(2, (1500,), generator=draw)
    one, other = (update(X, labels, 2, backend="triton") for _ in range(2))
    assert torch.equal(one.sums, other.sums)
    half = update(X.half(), labels, 2, backend="triton")
    expected = oracle(X.half().double().numpy(), labels.numpy(), 2, None)[0]
    np.testing.assert_allclose(half.sums, expected, rtol=1e-12, atol=1e-12)


def test_the_oracle_sees_a_wrong_kernel(monkeypatch):
    from fastclust_kernels.update import _triton

    X, labels = np.ones((900, 2)), np.zeros(900, np.int32)
    assert update(X, labels, 1, backend="triton").sums[0, 0] == 900
    # Segments that overlap.
    right = _triton.segment_kernel
    monkeypatch.setattr(
        _triton, "segment_kernel", type("Wrong", (), {"__getitem__": lambda _, grid: wrong(right, grid)})()
    )
    assert update(X, labels, 1, backend="triton").sums[0, 0] != 900


def wrong(kernel, grid):
    return lambda *arguments, **named: kernel[grid](*arguments, **named | {"SEGMENT": 400})
