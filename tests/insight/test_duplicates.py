"""Near-duplicates against all pairs, and the default threshold on planted copies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastclust.errors import InputError
from fastclust.insight import duplicate_evidence, near_duplicates
from fastclust.neighbors import NeighborGraph


def exact_graph(X, k, metric="euclidean"):
    """All pairs in float64; the obvious way."""
    X = np.asarray(X, np.float64)
    if metric == "cosine":
        unit = X / np.linalg.norm(X, axis=1, keepdims=True)
        distances = 1 - unit @ unit.T
    else:
        distances = np.sqrt(((X[:, None] - X[None]) ** 2).sum(axis=2))
    np.fill_diagonal(distances, np.inf)
    indices = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return NeighborGraph(indices, np.take_along_axis(distances, indices, axis=1).astype(np.float32), metric=metric)


def groups_by_hand(X, threshold):
    """Connected components of all pairs within the threshold, by repeated search."""
    distances = np.sqrt(((X[:, None] - X[None]) ** 2).sum(axis=2)).astype(np.float32)
    left, groups = set(range(len(X))), []
    while left:
        reached, edge = set(), {left.pop()}
        while edge:
            row = edge.pop()
            reached.add(row)
            edge |= {int(other) for other in np.flatnonzero(distances[row] <= threshold)} - reached
        left -= reached
        if len(reached) > 1:
            groups.append(sorted(reached))
    return sorted(groups, key=lambda group: (-len(group), group[0]))


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(2, 40),
    columns=st.integers(1, 3),
    threshold=st.sampled_from([0.0, 0.5, 1.0, 1.5, 4.0]),
    seed=st.integers(0, 2**16),
)
def test_groups_are_the_connected_components_of_all_near_pairs(n, columns, threshold, seed):
    # Whole numbers: ties and exact copies are common.
    X = np.random.default_rng(seed).integers(0, 6, (n, columns)).astype(float)
    found = near_duplicates(exact_graph(X, n - 1), threshold)
    assert [group.tolist() for group in found] == groups_by_hand(X, threshold)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("columns", [3, 16])
def test_default_threshold_finds_planted_copies_and_nothing_else(metric, columns):
    rng = np.random.default_rng(7)
    X = rng.normal(size=(900, columns))
    X[850:] = X[:50] * (1 + 1e-5 * rng.normal(size=(50, columns)))
    X[849] = X[0]
    found = near_duplicates(exact_graph(X, 10, metric))
    assert [group.tolist() for group in found] == [[0, 849, 850], *([row, 850 + row] for row in range(1, 50))]


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_default_threshold_leaves_even_density_alone(columns):
    """In few dimensions, near pairs are common; the evidence knows."""
    rng = np.random.default_rng(3)
    graphs = [exact_graph(rng.uniform(size=(600, columns)), 5) for _ in range(10)]
    assert sum(len(near_duplicates(graph)) for graph in graphs) <= 3
    evidence = duplicate_evidence(graphs[0])
    assert evidence.by_chance <= 0.1 + 1e-9
    assert 0.7 * columns < evidence.dimension < 1.4 * columns


def test_exact_copies_are_found_where_most_rows_are_copies():
    X = np.repeat(np.random.default_rng(0).normal(size=(20, 4)), 5, axis=0)
    graph = exact_graph(X, 10)
    assert duplicate_evidence(graph).threshold == 0
    assert [len(group) for group in near_duplicates(graph)] == [5] * 20


def test_one_neighbour_a_row_is_enough():
    X = np.random.default_rng(0).normal(size=(60, 8))
    X[1] = X[0]
    evidence = duplicate_evidence(exact_graph(X, 1))
    assert np.isnan(evidence.dimension)
    assert [group.tolist() for group in near_duplicates(exact_graph(X, 1))] == [[0, 1]]


def test_no_near_pair_means_no_group():
    assert near_duplicates(exact_graph(np.arange(10.0)[:, None], 3), 0.5) == []


@pytest.mark.parametrize("threshold", [-1.0, float("nan")])
def test_a_threshold_that_is_no_distance_is_refused(threshold):
    with pytest.raises(InputError, match="threshold"):
        near_duplicates(exact_graph(np.eye(5), 2), threshold)


def test_inner_products_have_no_default_threshold():
    graph = exact_graph(np.eye(5), 2, "euclidean")
    graph.metric = "inner_product"
    with pytest.raises(InputError, match="inner products"):
        near_duplicates(graph)
