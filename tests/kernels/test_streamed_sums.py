"""Sums of rows that come in blocks are those of all rows at once, bit for bit."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust_kernels.update import _numba, update
from fastclust_kernels.update.moving import MovingSums
from fastclust_kernels.update.streamed import Carry, StreamedSums


def blocks_of(rng, n):
    cuts = np.unique(np.concatenate([[0, n], rng.integers(0, n + 1, 3)]))
    return list(pairwise(cuts))


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 9000),
    k=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    weighted=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    resumes=st.booleans(),
    shares=st.lists(st.sampled_from([0.0, 0.001, 0.1, 0.3, 0.5, 1.0]), max_size=6),
)
def test_moving_sums_have_the_same_bits_however_the_rows_are_cut(n, k, seed, weighted, dtype, resumes, shares):
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, 3)) * 10.0 ** rng.integers(-6, 6, (n, 1))).astype(dtype)
    weights = np.where(rng.random(n) < 0.2, 0.0, rng.random(n)) if weighted else None
    whole, streamed = MovingSums(X, k, weights), StreamedSums(n, k, 3, weighted=weighted)
    labels = rng.integers(k, size=n).astype(np.int32)
    before = np.full(n, -1, np.int32)
    for share in [None, *shares]:
        if share is not None:
            labels = np.where(rng.random(n) < share, rng.integers(k, size=n), labels).astype(np.int32)
        streamed.begin()
        for start, stop in blocks_of(rng, n):
            here = slice(start, stop)
            streamed.add(X[here], labels[here], before[here], None if weights is None else weights[here])
        if streamed.end():
            for start, stop in blocks_of(rng, n):
                here = slice(start, stop)
                streamed.add_all(X[here], labels[here], None if weights is None else weights[here])
            streamed.end_all()
        for mine, theirs in zip(streamed.result(), whole.step(labels), strict=True):
            assert np.array_equal(mine, theirs)
        before = labels
        if resumes:
            resumed = StreamedSums(n, k, 3, weighted=weighted)
            resumed.restore(streamed.state())
            streamed = resumed


def test_a_carry_is_the_update_over_many_segments():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(30_000, 5)).astype(np.float32), rng.integers(3, size=30_000).astype(np.int32)
    weights = rng.random(30_000)
    for each in (None, weights):
        carry = Carry(3, 5)
        for start in range(0, 30_000, 1777):
            here = slice(start, start + 1777)
            carry.add(X[here], None, labels[here], None if each is None else each[here])
        found = update(X, labels, 3, weights=each)
        sums, total = carry.result()
        assert np.array_equal(sums, found.sums)
        assert np.array_equal(total, found.weights)


def test_the_probe_sees_sums_in_another_order():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(9000, 3)), np.zeros(9000, np.int32)
    assert not np.array_equal(X.sum(axis=0)[None], _numba.update(X, labels, 1, None)[0])
