"""The largest scores of each row, against sorting."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust_kernels.errors import InputError
from fastclust_kernels.select import Largest, reference


def agree(best, products, halves, keep):
    """Scores and columns are the oracle's, in any order; each score is that of its column."""
    scores, numbers = best.found()
    wanted, columns = reference.largest(products, halves, keep)
    filled, named = np.full((len(products), keep), -np.inf, np.float32), np.full((len(products), keep), -1)
    filled[:, : wanted.shape[1]], named[:, : wanted.shape[1]] = wanted, columns
    assert np.array_equal(np.sort(numbers, axis=1), np.sort(named, axis=1))
    assert np.array_equal(np.sort(scores, axis=1)[:, ::-1], filled)
    assert np.array_equal(numbers < 0, scores == -np.inf)
    for row in range(len(products)):
        held = numbers[row][numbers[row] >= 0]
        assert np.array_equal((products[row] - halves)[held], scores[row][numbers[row] >= 0])


@settings(deadline=None, max_examples=80)
@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 400),
    cuts=st.lists(st.integers(1, 399), max_size=4),
    keep=st.sampled_from([1, 2, 10, 40, 200]),
    kind=st.sampled_from(["normal", "ties", "rising", "huge"]),
    seed=st.integers(0, 999),
)
def test_the_largest_of_blocks_are_those_of_all(rows, columns, cuts, keep, kind, seed):
    rng = np.random.default_rng(seed)
    products = rng.normal(size=(rows, columns)).astype(np.float32)
    if kind == "ties":
        products = np.round(products)
    if kind == "rising":  # each is kept when it comes
        products = np.sort(products, axis=1)
    if kind == "huge":
        products = np.where(rng.random((rows, columns)) < 0.3, rng.choice([np.nan, np.inf, -np.inf, 3e38]), products)
        products = products.astype(np.float32)
    halves = rng.choice(np.array([0, 0.5, 2], np.float32), columns)
    starts = sorted({0, *(cut for cut in cuts if cut < columns)})
    lines, across, shuffled = (Largest(rows + 3, keep) for _ in range(3))
    order = rng.permutation(rows)
    with np.errstate(invalid="ignore"):
        for start, stop in zip(starts, [*starts[1:], columns], strict=True):
            block = np.ascontiguousarray(products[:, start:stop])
            lines.take(3, block, halves[start:stop], start)
            across.take_across(3, np.ascontiguousarray(block.T), halves[start:stop], start)
            shuffled.take_of(order + 3, block[order], halves[start:stop], start)
        for best in (lines, across, shuffled):
            assert (best.found()[1][:3] == -1).all()
            best._scores, best._numbers, best._counts = best._scores[3:], best._numbers[3:], best._counts[3:]
            best._floors = best._floors[3:]
            agree(best, products, halves, keep)


def test_the_oracle_sees_a_floor_that_is_too_high():
    products = np.random.default_rng(0).normal(size=(20, 640)).astype(np.float32)
    halves = np.zeros(640, np.float32)
    best = Largest(20, 10)
    best._floors[:] = np.sort(products, axis=1)[:, -8]
    best.take(0, products, halves, 0)
    with pytest.raises(AssertionError):
        agree(best, products, halves, 10)


def test_threads_may_take_different_rows_at_once():
    rng = np.random.default_rng(1)
    products, halves = rng.normal(size=(256, 4096)).astype(np.float32), rng.normal(size=4096).astype(np.float32)
    best = Largest(256, 25)
    threads = [
        threading.Thread(target=best.take, args=(start, products[start : start + 32], halves, 0))
        for start in range(0, 256, 32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    agree(best, products, halves, 25)


def test_what_does_not_fit_is_refused():
    best, block, halves = Largest(4, 2), np.zeros((4, 6), np.float32), np.zeros(6, np.float32)
    for bad in (
        lambda: Largest(4, 0),
        lambda: best.take(1, block, halves, 0),
        lambda: best.take(0, block, halves[:5], 0),
        lambda: best.take(0, block.astype(np.float64), halves, 0),
        lambda: best.take(0, block[:, ::2], halves[:3], 0),
        lambda: best.take_across(0, block, halves, 0),
        lambda: best.take(0, block, halves, 2**31 - 6),
        lambda: best.take(0, block, halves.astype(np.float64), 0),
        lambda: best.take_of(np.arange(3), block, halves, 0),
        lambda: best.take_of(np.arange(1, 5), block, halves, 0),
        lambda: best.take_of(np.arange(4.0), block, halves, 0),
        lambda: best.take_of(np.arange(4), block, halves[:5], 0),
    ):
        with pytest.raises(InputError):
            bad()
    best.take(0, block[:0], halves, 0)
    assert (best.found()[1] == -1).all()
