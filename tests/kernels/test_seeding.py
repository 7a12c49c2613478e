import numba
import numpy as np
import pytest

from fastclust_kernels.assign import greedy_plus_plus


def oracle(X, weights, first, draws):
    """The definition, in float64: the same places along the running totals, the candidate with the least potential."""
    X = X.astype(np.float64)
    chosen, nearest = [first], ((X - X[first]) ** 2).sum(axis=1)
    for row in draws:
        totals = np.cumsum(weights * nearest)
        candidates = [int(np.searchsorted(totals, u * totals[-1], side="right")) for u in row]
        reached = [np.minimum(nearest, ((X - X[c]) ** 2).sum(axis=1)) for c in candidates]
        best = int(np.argmin([weights @ r for r in reached]))
        chosen.append(candidates[best])
        nearest = reached[best]
    return chosen


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 300.0])
@pytest.mark.parametrize(("n", "d", "k", "trials"), [(900, 5, 12, 4), (300, 40, 9, 16), (257, 1, 5, 1), (2, 3, 2, 3)])
@pytest.mark.parametrize("alone", [0, 1 << 30])
def test_the_rows_are_the_oracles(monkeypatch, alone, n, d, k, trials, offset, dtype):
    """With one thread, and with all."""
    from fastclust_kernels.assign import _seeding

    monkeypatch.setattr(_seeding, "_ALONE", alone)
    rng = np.random.default_rng(n + trials)
    X, weights = (offset + rng.normal(size=(n, d))).astype(dtype), rng.random(n)
    draws = rng.random((k - 1, trials))
    assert greedy_plus_plus(X, weights, 1, draws).tolist() == oracle(X, weights, 1, draws)


def test_choosing_goes_on_to_the_same_rows():
    rng = np.random.default_rng(5)
    X, weights, draws = 40 + rng.normal(size=(700, 6)).astype(np.float32), rng.random(700), rng.random((9, 3))
    nearest = np.full(700, np.inf)
    parts = [
        greedy_plus_plus(X, weights, 2, draws[:4], nearest),
        greedy_plus_plus(X, weights, None, draws[4:], nearest),
    ]
    chosen = np.concatenate(parts)
    assert chosen.tolist() == oracle(X, weights, 2, draws)
    distances = ((X[:, None].astype(np.float64) - X[chosen]) ** 2).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(nearest, distances, rtol=1e-4, atol=1e-4)


def test_rows_of_weight_zero_and_rows_on_chosen_ones_are_never_drawn():
    X = np.repeat(np.arange(4.0), 5)[:, None] + 1e3
    weights = np.repeat([1.0, 1.0, 1.0, 0.0], 5)
    chosen = greedy_plus_plus(X, weights, 0, np.random.default_rng(0).random((5, 2)))
    assert sorted(X[chosen[:3], 0] - 1e3) == [0, 1, 2]
    assert (chosen[3:] == -1).all()


def test_the_rows_do_not_depend_on_the_number_of_threads(monkeypatch):
    from fastclust_kernels.assign import _seeding

    monkeypatch.setattr(_seeding, "_ALONE", 0)  # else one thread does so few
    rng = np.random.default_rng(3)
    X, draws, before = rng.normal(size=(3000, 8)).astype(np.float32), rng.random((40, 5)), numba.get_num_threads()
    found = []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            found.append(greedy_plus_plus(X, np.ones(3000), 0, draws).tolist())
    finally:
        numba.set_num_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize("alone", [0, 1 << 30])
def test_one_thread_chooses_what_all_do_and_leaves_their_number(monkeypatch, alone):
    from fastclust_kernels.assign import _seeding

    rng = np.random.default_rng(5)
    X, draws = rng.normal(size=(3000, 9)).astype(np.float32), rng.random((20, 4))
    before = numba.get_num_threads()
    expected = _seeding.greedy(X, np.ones(3000), 7, draws, np.full(3000, np.inf))
    monkeypatch.setattr(_seeding, "_ALONE", alone)
    seen, kernel = [], _seeding._greedy
    monkeypatch.setattr(_seeding, "_greedy", lambda *given: (seen.append(numba.get_num_threads()), kernel(*given)))
    assert np.array_equal(_seeding.greedy(X, np.ones(3000), 7, draws, np.full(3000, np.inf)), expected)
    assert seen == [1 if alone else before]
    assert numba.get_num_threads() == before
