"""Which rows make a batch."""

import numpy as np

from fastclust.learning.samplers import nearest_negatives
from fastclust.mining import ManifoldPools, Ragged


def pools_of(lengths, n, seed):
    rng = np.random.default_rng(seed)
    lists = [rng.choice(n // 2, length, replace=False) for length in lengths]
    anchors = rng.choice(n // 2, len(lists), replace=False)
    one = Ragged.of([item[:1] for item in lists], np.int64)
    return ManifoldPools(anchors, one, Ragged.of(lists, np.int64), one, 0, n)


def test_nearest_negatives_are_those_of_a_loop_and_only_rows_of_the_pools_are_embedded():
    pools = pools_of([3, 50, 10, 11, 1] * 60, 1000, 0)
    embedding = np.random.default_rng(1).normal(size=(1000, 8)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    asked = []

    def described(rows):
        asked.append(rows)
        return embedding[rows]

    found = nearest_negatives(pools, described)
    assert found.shape == (300, 10)
    for place, anchor in enumerate(pools.anchors):
        pool = pools.negatives[place]
        near = pool[np.argsort(-(embedding[pool].astype(np.float64) @ embedding[anchor]), kind="stable")][:10]
        assert found[place].tolist() == near.tolist() + [-1] * (10 - len(near))
    assert len(asked) == 1
    assert set(asked[0]) == {*pools.anchors, *pools.negatives.values}


def test_without_an_embedding_negatives_stay_in_the_order_in_which_they_were_mined():
    pools = pools_of([3, 50, 10], 200, 0)
    found = nearest_negatives(pools)
    for place in range(3):
        own = pools.negatives[place][:10].tolist()
        assert found[place].tolist() == own + [-1] * (10 - len(own))
    assert nearest_negatives(pools_of([2, 3], 20, 0)).shape == (2, 10)
