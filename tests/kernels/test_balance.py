import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import eye_array, kron, vstack

from fastclust_kernels.balance import balance
from fastclust_kernels.errors import InputError


def least_cost(costs, low, high):
    """The transportation problem as a linear program, whose corners are whole numbers."""
    n, k = costs.shape
    one_each = kron(eye_array(n), np.ones((1, k)))
    sizes = kron(np.ones((1, n)), eye_array(k))
    bounds = np.concatenate([np.full(k, high), np.full(k, -low)])
    solved = linprog(costs.ravel(), vstack([sizes, -sizes]), bounds, one_each, np.ones(n), bounds=(0, 1))
    return solved.fun


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(),
    n=st.integers(1, 30),
    k=st.integers(1, 6),
    levels=st.sampled_from([2, 1000]),
    seed=st.integers(0, 999),
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_cost_is_the_least_and_all_sizes_are_within_bounds(dtype, data, n, k, levels, seed):
    """Few levels: ties everywhere."""
    low = data.draw(st.integers(0, n // k))
    high = data.draw(st.integers(max(low, -(-n // k)), n))
    costs = np.random.default_rng(seed).integers(0, levels, (n, k)).astype(dtype)
    labels = balance(costs, low, high)
    sizes = np.bincount(labels, minlength=k)
    assert sizes.min() >= low
    assert sizes.max() <= high
    np.testing.assert_allclose(costs[np.arange(n), labels].sum(), least_cost(costs, low, high), rtol=1e-9, atol=1e-9)


def test_rows_stay_with_the_cheapest_where_the_bounds_allow_it():
    costs = np.random.default_rng(0).random((500, 7))
    assert np.array_equal(balance(costs, 0, 500), costs.argmin(axis=1))


@pytest.mark.parametrize(
    ("low", "high", "field"), [(3, 9, "size_min"), (0, 3, "size_max"), (4, 2, "size_min"), (-1, 9, "size_min")]
)
def test_bounds_that_no_sizes_meet_are_named(low, high, field):
    with pytest.raises(InputError) as caught:
        balance(np.zeros((8, 2)) if field == "size_max" else np.zeros((5, 2)), low, high)
    assert caught.value.field == field
