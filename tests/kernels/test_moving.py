import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastclust_kernels.assign import _worth
from fastclust_kernels.assign.moving import MovingAssignment, bytes_of_bounds
from fastclust_kernels.assign.reference import assign as oracle
from fastclust_kernels.errors import BackendError
from fastclust_kernels.update.moving import MovingSums
from fastclust_kernels.update.reference import update as sums_oracle


def means(X, labels, centers):
    sums, weights = sums_oracle(X, labels, len(centers), None)
    return np.where(weights[:, None] > 0, sums / np.maximum(weights, 1)[:, None], centers).astype(X.dtype)


def bounds_hold(X, centers, moving):
    """Each bound against distances by differences in float64."""
    bounds, groups, labels = moving._bounds, moving._groups, moving._labels
    distances = np.sqrt(((X[:, None].astype(np.float64) - centers.astype(np.float64)) ** 2).sum(axis=2))
    rows = np.arange(len(X))
    own = distances[rows, labels].copy()
    assert (bounds.upper >= own * (1 - 1e-12)).all()
    distances[rows, labels] = np.inf
    parts = bounds.lower.shape[1] // len(groups.members)
    for place, bound in enumerate(bounds.lower.T):
        members = groups.members[place // parts, place % parts :: parts]
        nearest = distances[:, members[members >= 0]].min(axis=1, initial=np.inf)
        assert (bound <= nearest * (1 + 1e-12)).all()


def follow(X, centers, steps, **how):
    """Lloyd's iteration with the oracle beside each step."""
    moving = MovingAssignment(X, len(centers), **how)
    for _ in range(steps):
        labels = moving.step(centers)
        expected, least = oracle(X, centers)
        own = ((X.astype(np.float64) - centers.astype(np.float64)[labels]) ** 2).sum(axis=1)
        np.testing.assert_allclose(own, least, rtol=1e-12, atol=1e-300)
        assert (labels == expected).mean() > 0.99 or len(X) < 300
        if moving._bounds is not None:
            bounds_hold(X, centers, moving)
        centers = means(X, labels, centers)
    return moving


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "d", "k"), [(1500, 7, 40), (700, 64, 300), (900, 300, 10), (600, 400, 60), (65, 1, 20), (20, 3, 20)]
)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_every_step_has_the_oracles_labels_and_bounds_that_hold(n, d, k, offset, dtype):
    rng = np.random.default_rng(n + d)
    X = (offset + rng.normal(size=(n, d))).astype(dtype)
    moving = follow(X, X[rng.choice(n, k, replace=False)].copy(), 7, bounds=True)
    assert moving.bounded


@settings(deadline=None, max_examples=40)
@example(n=1, d=1, k=5, levels=4, scale=1e-30, dtype=np.float32, seed=2)
@example(n=30, d=3, k=20, levels=4, scale=1e-45, dtype=np.float64, seed=2)
@given(
    n=st.integers(1, 60),
    d=st.integers(1, 5),
    k=st.integers(1, 40),
    levels=st.integers(1, 4),
    scale=st.sampled_from([1e-45, 1e-30, 1e-22, 1e-3, 1.0, 1e15]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**31),
)
def test_ties_and_duplicates_at_any_scale(n, d, k, levels, scale, dtype, seed):
    """A few levels only; at 1e15, squares of float32 are near its largest number."""
    rng = np.random.default_rng(seed)
    X = (scale * rng.integers(0, levels, (n, d))).astype(dtype)
    centers = (scale * rng.integers(0, levels, (k, d))).astype(dtype)
    moving = MovingAssignment(X, k, bounds=True)
    for step in range(4):
        labels = moving.step(centers)
        expected, least = oracle(X, centers)
        own = ((X.astype(np.float64) - centers.astype(np.float64)[labels]) ** 2).sum(axis=1)
        np.testing.assert_allclose(own, least, rtol=1e-12)
        # Whole numbers: the first step's distances are exact, and so are its ties.
        assert step or scale != 1.0 or np.array_equal(labels, expected)
        centers = means(X, labels, centers)


def test_steps_go_without_bounds_until_they_pay():
    X = np.random.default_rng(0).normal(size=(1500, 30)).astype(np.float32)
    moving, centers, kept = MovingAssignment(X, 80), X[:80].copy(), []
    for _ in range(14):
        labels = moving.step(centers)
        assert (labels == oracle(X, centers)[0]).mean() > 0.99
        kept.append(moving._bounds is not None)
        centers = means(X, labels, centers)
    assert not any(kept[:2]), "centres that are far from their places"
    assert all(kept[-4:])
    assert moving.share < 0.6


def test_bounds_that_no_longer_pay_are_let_go():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(2000, 32)).astype(np.float32)
    moving, centers = MovingAssignment(X, 64), X[:64].copy()
    for _ in range(15):
        centers = means(X, moving.step(centers), centers)
    assert moving._bounds is not None
    for _ in range(2):
        others = X[rng.choice(2000, 64, replace=False)]
        assert (moving.step(others) == oracle(X, others)[0]).mean() > 0.99
    assert moving._bounds is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("apart", [1, 2, 4])
@pytest.mark.parametrize(("n", "d", "k", "offset"), [(900, 20, 100, 0.0), (700, 30, 300, 1000.0), (800, 700, 40, 0.0)])
def test_centres_scored_apart_leave_bounds_that_hold(n, d, k, offset, apart, dtype, monkeypatch):
    """A few centres move far and most hardly: what the scores of the movers are for."""
    monkeypatch.setattr(_worth, "cost_of_step", lambda *known: (0.0, min(apart, len(known[5].centers) - 1)))
    rng = np.random.default_rng(n)
    X = (offset + rng.normal(size=(n, d))).astype(dtype)
    moving, centers = MovingAssignment(X, k, bounds=True), X[rng.choice(n, k, replace=False)].copy()
    for step in range(6):
        labels = moving.step(centers)
        least = oracle(X, centers)[1]
        own = ((X.astype(np.float64) - centers.astype(np.float64)[labels]) ** 2).sum(axis=1)
        np.testing.assert_allclose(own, least, rtol=1e-12)
        if step:
            bounds_hold(X, centers, moving)
        far = np.where(rng.random(k) < 0.1, 0.5, 0.01)[:, None]
        centers = (centers + far * rng.normal(size=(k, d)) / np.sqrt(d)).astype(dtype)
    assert moving.share < 1


def test_bounds_save_most_of_the_work_on_clustered_rows():
    rng = np.random.default_rng(0)
    X = (10 * rng.normal(size=(64, 16))[rng.integers(64, size=4000)] + rng.normal(size=(4000, 16))).astype(np.float32)
    moving = follow(X, X[:64].copy(), 12, bounds=True)
    assert moving.share < 0.2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bounds", [False, True])
def test_the_bits_do_not_depend_on_the_number_of_threads(dtype, bounds):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(5000, 20)).astype(dtype)
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            moving, centers, steps = MovingAssignment(X, 50, bounds=bounds), X[:50].copy(), []
            for _ in range(5):
                steps.append(moving.step(centers).tobytes())
                centers = means(X, moving.step(centers), centers)
            results.append((steps, None if moving._bounds is None else moving._bounds.lower.tobytes()))
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


def test_the_oracle_keeps_no_bounds_and_an_unknown_backend_is_refused():
    X = np.random.default_rng(0).normal(size=(50, 3))
    assert not follow(X, X[:5].copy(), 3, backend="reference").bounded
    with pytest.raises(BackendError, match=r"cuda.*Allowed"):
        MovingAssignment(X, 5, backend="cuda")


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_changed_rows_are_the_sums_of_all(weighted):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(3000, 6)).astype(np.float32)
    weights = rng.random(3000) if weighted else None
    labels = rng.integers(7, size=3000).astype(np.int32)
    moving = MovingSums(X, 9, weights)
    for _ in range(6):
        sums, total, _ = moving.step(labels)
        expected = sums_oracle(X, labels, 9, weights)
        np.testing.assert_allclose(sums, expected[0], atol=1e-10)
        np.testing.assert_allclose(total, expected[1], atol=1e-10)
        labels = labels.copy()
        labels[rng.choice(3000, 50)] = rng.integers(9, size=50)


def test_a_cluster_that_lost_its_rows_is_exactly_empty_and_one_that_lost_a_giant_is_exact():
    X = np.array([[1e12], [1.0], [2.0], [0.1], [0.2], [0.3]])
    weights = np.array([1.0, 1.0, 1.0, 0.1, 0.2, 0.3])
    moving = MovingSums(X, 3, weights)
    moving.step(np.array([0, 0, 0, 1, 1, 1], np.int32))
    sums, _, changed = moving.step(np.array([2, 0, 0, 1, 1, 1], np.int32))
    assert changed == 1
    assert sums[0] == 3.0
    moving.step(np.array([2, 0, 0, 1, 1, 2], np.int32))
    moving.step(np.array([2, 0, 0, 1, 2, 2], np.int32))
    sums, total, _ = moving.step(np.array([2, 0, 0, 2, 2, 2], np.int32))
    assert total[1] == 0.0
    assert sums[1] == 0.0


@pytest.mark.parametrize(("d", "k"), [(4, 20), (64, 64), (128, 64), (600, 17), (784, 16), (300, 700)])
def test_bounds_take_no_more_memory_than_was_said(d, k):
    rows = np.random.default_rng(0).normal(size=(3000, d)).astype(np.float32)
    moving = MovingAssignment(rows, k, bounds=True)
    for shift in (0, 0.01, 0.02):
        moving.step(rows[:k] + np.float32(shift))
    held = sum(array.nbytes for array in moving._bounds) + moving._labels.nbytes
    assert held <= bytes_of_bounds(len(rows), k, d * 4) <= 1.01 * held
