"""Placing new rows on a map, against the rule written out in loops."""

import numpy as np
import pytest

from fastclust.maps import placing


def oracle(points, found, distances):
    """One row: the place of a neighbour, or the mode, with the most weight among its k nearest points."""
    k = len(found)
    first = distances[0]
    weights = [(first / one) ** 3 if one > 0 else 1.0 for one in distances]
    weights = np.array(weights) / sum(weights)
    near = [points[number].astype(float) for number in found]

    def pull(at):
        return sum(w / (1 + ((at - one) ** 2).sum()) for w, one in zip(weights, near, strict=True))

    mode = max(near, key=pull)
    for _ in range(10):
        shares = [w / (1 + ((mode - one) ** 2).sum()) ** 2 for w, one in zip(weights, near, strict=True)]
        mode = sum(share * one for share, one in zip(shares, near, strict=True)) / sum(shares)
    best, most = None, -1.0
    for at in [*near, mode]:
        around = np.argsort(((points.astype(float) - at) ** 2).sum(axis=1), kind="stable")[:k]
        value = sum(weights[j] for j in range(k) if found[j] in around) + 0.01 * pull(at)
        if value > most + 1e-12:
            best, most = at, value
    return best


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 4, 10])
def test_rows_go_where_their_neighbours_are_near(dimensions, k, monkeypatch):
    monkeypatch.setattr(placing, "_BLOCK", 13)
    rng = np.random.default_rng(dimensions)
    points = (3 * rng.normal(size=(60, dimensions))).astype(np.float32)
    found = np.array([rng.choice(60, k, replace=False) for _ in range(40)])
    distances = np.sort(rng.random((40, k)), axis=1).astype(np.float32)
    distances[::7, 0] = 0
    placed = placing.place(points, found, distances)
    assert placed.dtype == np.float32
    wanted = np.array([oracle(points, *one) for one in zip(found, distances, strict=True)])
    np.testing.assert_allclose(placed, wanted, rtol=1e-5, atol=1e-6)


def test_a_row_that_is_known_goes_to_its_own_place():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 2)).astype(np.float32)
    found = np.array([rng.permutation(30)[:10] for _ in range(30)])
    distances = np.sort(rng.random((30, 10)), axis=1)
    distances[:, 0] = 0
    assert np.array_equal(placing.place(points, found, distances), points[found[:, 0]])
