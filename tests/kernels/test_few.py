"""Few centres: labels and sums of one pass over the rows, against the oracles."""

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastclust_kernels.assign.few import CHUNK, MOST_CENTERS, FewCenters, Known
from fastclust_kernels.assign.reference import assign as oracle
from fastclust_kernels.update.reference import update as sums_oracle


def known_of(n, *, bounded):
    kept = n if bounded else 0
    return Known(np.zeros(n, np.int32), np.empty(kept), np.full(kept, np.inf, np.float32), np.zeros(kept, np.float32))


class Pass:
    """The rows of one array, in blocks."""

    def __init__(self, X, k, *, bounded, weights=None, block=None):
        self.X, self.weights, self.block = X, weights, block or len(X)
        self.few, self.known, self.before = FewCenters(k, X.shape[1], X.dtype), known_of(len(X), bounded=bounded), None

    def step(self, centers):
        placed = self.few.place(centers)
        self.few.begin()
        for start in range(0, len(self.X), self.block):
            here = slice(start, start + self.block)
            each = None if self.weights is None else self.weights[here]
            self.few.add(self.X[here], placed, self.before, self.known.part(here), each)
        self.before = placed
        if self.few.end():
            for start in range(0, len(self.X), self.block):
                here = slice(start, start + self.block)
                each = None if self.weights is None else self.weights[here]
                self.few.add_all(self.X[here], self.known.labels[here], each)
            self.few.end_all()
        return self.known.labels.copy(), *self.few.result()


def means(sums, weights, centers):
    return np.where(weights[:, None] > 0, sums / np.where(weights > 0, weights, 1)[:, None], centers).astype(
        centers.dtype
    )


def follow(X, centers, steps, *, bounded, weights=None, exact_ties=False):
    """Lloyd's iteration with the oracles beside each step."""
    going, last = Pass(X, len(centers), bounded=bounded, weights=weights), None
    for step in range(steps):
        labels, sums, total, changed = going.step(centers)
        expected, least = oracle(X, centers)
        wide = ((X[:, None].astype(np.float64) - centers.astype(np.float64)) ** 2).sum(axis=2)
        rows = np.arange(len(X))
        np.testing.assert_allclose(wide[rows, labels], least, rtol=1e-12, atol=1e-300)
        if exact_ties and not step:
            np.testing.assert_array_equal(labels, expected)
        wanted, counted = sums_oracle(X, labels, len(centers), weights)
        size = np.abs(X).max() * max(1.0, 1.0 if weights is None else weights.max())
        np.testing.assert_allclose(sums, wanted, rtol=1e-9, atol=1e-12 * len(X) * size)
        np.testing.assert_allclose(total, counted, rtol=1e-12, atol=1e-12)
        assert not sums[counted == 0].any()
        assert changed == (len(X) if last is None else (labels != last).sum())
        if bounded:
            distances = np.sqrt(wide)
            own = distances[rows, labels].copy()
            distances[rows, labels] = np.inf
            assert (going.known.upper >= own * (1 - 1e-12)).all()
            assert (going.known.lower <= distances.min(axis=1) * (1 + 1e-12)).all()
        last, centers = labels, means(sums, total, centers)
    return going


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "d", "k"), [(5000, 7, 10), (3000, 64, 16), (700, 300, 3), (65, 1, 2), (9, 3, 9), (2100, 4096, 5), (1, 1, 1)]
)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("bounded", [False, True])
def test_every_step_has_the_oracles_labels_sums_and_bounds_that_hold(n, d, k, offset, dtype, bounded):
    rng = np.random.default_rng(n + d)
    X = (offset + rng.normal(size=(n, d))).astype(dtype)
    follow(X, X[rng.choice(n, k, replace=False)].copy(), 5, bounded=bounded)


@settings(deadline=None, max_examples=60)
@example(n=30, d=3, k=16, levels=4, scale=1e-45, dtype=np.float64, weighted=False, bounded=True, seed=2)
@example(n=30, d=3, k=16, levels=4, scale=1e15, dtype=np.float32, weighted=True, bounded=True, seed=2)
@given(
    n=st.integers(1, 60),
    d=st.integers(1, 5),
    k=st.integers(1, MOST_CENTERS),
    levels=st.integers(1, 4),
    scale=st.sampled_from([1e-45, 1e-30, 1e-22, 1e-3, 1.0, 1e15]),
    dtype=st.sampled_from([np.float32, np.float64]),
    weighted=st.booleans(),
    bounded=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_ties_duplicates_and_weights_at_any_scale(n, d, k, levels, scale, dtype, weighted, bounded, seed):
    rng = np.random.default_rng(seed)
    X = (scale * rng.integers(0, levels, (n, d))).astype(dtype)
    centers = (scale * rng.integers(0, levels, (k, d))).astype(dtype)
    # Some rows without weight: a cluster of such rows only has sums of exactly zero.
    weights = rng.integers(0, 3, n) * rng.uniform(0.1, 2, n) if weighted else None
    follow(X, centers, 4, bounded=bounded, weights=weights, exact_ties=scale == 1.0)


@pytest.mark.parametrize("scale", [1e18, 1e25, 1e37])
def test_rows_whose_squares_overflow_are_decided_in_float64(scale):
    X = (scale * np.random.default_rng(0).normal(size=(300, 6))).astype(np.float32)
    follow(X, X[:7].copy(), 4, bounded=True)


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_bits_depend_neither_on_threads_nor_on_blocks(bounded, weighted):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(9 * CHUNK + 5, 6)).astype(np.float32)
    weights = rng.uniform(0, 2, len(X)) if weighted else None
    before, results = numba.get_num_threads(), []
    try:
        for threads, block in ((1, None), (before, None), (before, CHUNK), (1, 4 * CHUNK)):
            numba.set_num_threads(threads)
            going, centers, kept = Pass(X, 11, bounded=bounded, weights=weights, block=block), X[:11].copy(), []
            for _ in range(6):
                labels, sums, total, changed = going.step(centers)
                kept += [labels.tobytes(), sums.tobytes(), total.tobytes(), changed]
                centers = means(sums, total, centers)
            results.append(kept)
    finally:
        numba.set_num_threads(before)
    assert all(result == results[0] for result in results)


def test_a_cluster_that_shrinks_to_almost_nothing_is_added_up_anew():
    """1e8 goes and 1e-3 stays: a difference of sums would keep 1e-8 of rounding and more."""
    X = np.array([[0.0], [1e8], [1e8], [1e8 + 1e3], [0.1]])
    going = Pass(X, 2, bounded=False)
    going.step(np.array([[1e3], [5e9]]))
    labels, sums, total, _ = going.step(np.array([[0.0], [1e8]]))
    assert labels.tolist() == [0, 1, 1, 1, 0]
    assert sums[0, 0] == 0.1
    assert total.tolist() == [2, 3]


def test_bounds_leave_settled_rows_unread():
    rng = np.random.default_rng(0)
    X = (20 * rng.normal(size=(8, 16))[rng.integers(8, size=6000)] + rng.normal(size=(6000, 16))).astype(np.float32)
    going = follow(X, X[:8].copy(), 8, bounded=True)
    assert going.few.scored < 0.25 * len(X)
