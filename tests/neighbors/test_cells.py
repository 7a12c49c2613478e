"""Our own inverted file, against brute force; its graph is the same whatever the threads, ties included."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastclust as fc
from fastclust.neighbors import cells
from fastclust.neighbors.cells import Cells
from fastclust.neighbors.exact import brute_force


def mixture(n, d, seed=0, components=20):
    rng = np.random.default_rng(seed)
    means = rng.normal(scale=1.5, size=(components, d))
    return (means[rng.integers(components, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


def recall(found, X, queries, k, *, inner):
    true = brute_force(X, queries, k, inner=inner).numbers
    return np.mean([len(np.intersect1d(*pair)) / k for pair in zip(true, found, strict=True)])


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), [(5000, 16, 10), (3000, 3, 40), (700, 300, 5)])
def test_nearly_all_neighbours_are_found(n, d, k, inner):
    X, new = mixture(n, d), mixture(n + 200, d)[n:]
    index = Cells(X, inner=inner, k=k)
    assert recall(index.graph(k), X, X, k, inner=inner) >= 0.98
    assert recall(index.search(new, k), X, new, k, inner=inner) >= 0.97


def test_of_very_many_rows_a_little_less_is_asked(monkeypatch):
    X = mixture(10_000, 10, components=200)
    few = Cells(X, inner=False, k=10)
    found = recall(few.graph(10), X, X, 10, inner=False)
    monkeypatch.setattr(cells, "_MANY", 9_999)
    many = Cells(X, inner=False, k=10)
    assert many._cells_for(10) < few._cells_for(10)
    assert 0.97 <= recall(many.graph(10), X, X, 10, inner=False) < found


def test_new_rows_may_lie_where_no_row_does():
    X, new = mixture(5000, 16), mixture(200, 16, seed=1)
    assert recall(Cells(X, inner=False, k=10).search(new, 10), X, new, 10, inner=False) >= 0.9


def test_not_all_cells_are_looked_into():
    """Else the recall above would say nothing."""
    X = mixture(5000, 4, components=60)
    index = Cells(X, inner=False, k=10)
    assert recall(index.graph(10), X, X, 10, inner=False) >= 0.98
    assert index._cells_for(10) < 0.5 * len(index._sizes)


def test_cells_that_hold_too_few_rows_are_not_all():
    X = mixture(1500, 6)
    index = Cells(X, inner=False, k=10)
    index._probes[400] = 1
    assert (index.search(X[:50], 400) >= 0).all()


@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(1, 600), d=st.integers(1, 4), levels=st.integers(1, 4), k=st.integers(1, 12), seed=st.integers(0, 99)
)
def test_few_rows_and_ties(n, d, levels, k, seed):
    """With one cell all rows are compared: distances are those of brute force."""
    X = np.random.default_rng(seed).integers(0, levels, (n, d)).astype(np.float32)
    k = min(k, n)
    index = Cells(X, inner=False, k=k)
    found, asked = index.graph(k), index.search(X, k)
    assert all(len({*row} - {-1}) == sum(each >= 0 for each in row) for row in found.tolist())
    if len(index._sizes) == 1:
        true = np.linalg.norm(X[brute_force(X, X, k, inner=False).numbers] - X[:, None], axis=2)
        for numbers in (found, asked):
            assert np.array_equal(np.linalg.norm(X[numbers] - X[:, None], axis=2), true)
    assert (asked >= 0).all()


def test_threads_change_nothing_where_many_rows_are_alike():
    rng = np.random.default_rng(3)
    X = np.concatenate([mixture(3000, 5), np.repeat(rng.normal(size=(30, 5)), 60, axis=0).astype(np.float32)])
    graphs = []
    for threads in (1, 2, 2):
        numba.set_num_threads(threads)
        graphs.append(fc.knn_graph(X, 12, index="cells"))
    for graph in graphs[1:]:
        assert graph.indices.tobytes() == graphs[0].indices.tobytes()
        assert graph.distances.tobytes() == graphs[0].distances.tobytes()


def test_auto_takes_cells_where_rows_are_many():
    graph = fc.knn_graph(mixture(20_001, 2), 3)
    assert graph.index_ == "cells"
    assert graph.recall >= 0.98


def test_a_cell_of_equal_rows_is_cut_into_blocks():
    X = np.concatenate([np.zeros((3000, 3), np.float32), mixture(2000, 3)])
    found = Cells(X, inner=False, k=5).graph(5)
    assert (np.linalg.norm(X[found[:3000]], axis=2) == 0).all()
