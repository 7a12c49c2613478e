"""Exact neighbours are those of a float64 brute force, whatever digits float32 products lose."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastclust as fc
from fastclust import distributed, progress
from fastclust.neighbors.certificates import Frame, values_of
from fastclust.neighbors.exact import brute_force
from fastclust.neighbors.lists import Passing
from fastclust.neighbors.metrics import metric_of

N, D, K = 900, 12, 10
#: Every ninth row is a query.
SOME = 9


def blobs(offset, scale, dtype=np.float32):
    """Clusters of radius 1e-5 of their distances, far from the origin."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(12, D)) * scale + offset
    return (centers[rng.integers(12, size=N)] + 1e-5 * max(scale, 1) * rng.normal(size=(N, D))).astype(dtype)


def oracle(queries, rows):
    """Squared distances by differences in float64, and numbers by distance, then number."""
    gaps = queries[:, None].astype(np.float64) - rows[None].astype(np.float64)
    squared = (gaps * gaps).sum(axis=2)
    return squared, np.lexsort((np.broadcast_to(np.arange(len(rows)), squared.shape), squared), axis=1)


def in_memory(X, folder):
    index = fc.NeighborIndex(index="exact").fit(X)
    return index.kneighbors(X[::SOME], K, return_distance=False), index.recomputed_


def streamed(X, folder):
    np.save(folder / "x.npy", X)
    index = fc.NeighborIndex(index="exact").fit(fc.open_rows(folder / "x.npy", memory="80kB"))
    return index.kneighbors(X[::SOME], K, return_distance=False), index.recomputed_


def over_workers(X, folder):
    np.save(folder / "x.npy", X)
    distributed.kneighbors_to(folder / "x.npy", folder / "out", K, n_workers=2, address="here")
    others = np.stack(pd.read_parquet(folder / "out")["indices"])[::SOME, : K - 1]
    return np.hstack([np.arange(0, len(X), SOME)[:, None], others]), None


@pytest.mark.parametrize("search", [in_memory, streamed, over_workers])
@pytest.mark.parametrize(
    ("offset", "scale", "dtype"),
    [(0, 1e4, np.float32), (1e5, 1e5, np.float32), (1e5, 1, np.float64), (1e6, 1e5, np.float64)],
)
def test_neighbours_are_those_of_float64_where_digits_cancel(tmp_path, search, offset, scale, dtype):
    X = blobs(offset, scale, dtype)
    found, recomputed = search(X, tmp_path)
    squared, _ = oracle(X[::SOME], X)
    np.testing.assert_allclose(np.take_along_axis(squared, found, 1), np.sort(squared, axis=1)[:, :K], rtol=1e-12)
    assert recomputed is None or recomputed > 0


def test_scores_settle_ordinary_rows():
    X = np.random.default_rng(0).normal(size=(2000, 32)).astype(np.float32)
    graph = fc.knn_graph(X, K, index="exact")
    assert graph.recomputed_ == graph.head(2).recomputed_ == 0
    assert fc.knn_graph(X, K, index="hnsw").recomputed_ is None


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 60),
    d=st.integers(1, 4),
    levels=st.integers(1, 3),
    scale=st.sampled_from([1.0, 2.0**40, 2.0**66, 2.0**-70]),
    far=st.booleans(),
    seed=st.integers(0, 999),
    data=st.data(),
)
def test_ties_go_to_the_lowest_number_among_any_number_of_duplicates(n, d, levels, scale, far, seed, data):
    """Differences of these rows are exact, so that ties are; products overflow or vanish."""
    rng = np.random.default_rng(seed)
    X = (rng.integers(0, levels, (n, d)) * scale).astype(np.float32)
    if far:
        X[0] = 2.0**30 * scale
    queries, k = X[: data.draw(st.integers(1, n))], data.draw(st.integers(1, n))
    _, wanted = oracle(queries, X)
    assert np.array_equal(brute_force(X, queries, k, inner=False).numbers, wanted[:, :k])
    passing = Passing(fc.open_rows(X, memory=data.draw(st.sampled_from([2000, 20_000]))), metric_of("euclidean"))
    assert np.array_equal(passing.search(queries, k)[1], wanted[:, :k])


@settings(deadline=None, max_examples=60)
@given(
    d=st.sampled_from([1, 3, 64, 700]),
    offset=st.sampled_from([0.0, 1.0, 1e4]),
    scale=st.sampled_from([1e-25, 1e-3, 1.0, 1e12]),
    kinds=st.sampled_from([(np.float32, np.float32), (np.float64, np.float32), (np.float64, np.float64)]),
    inner=st.booleans(),
    seed=st.integers(0, 999),
)
def test_no_score_is_above_the_limit_of_its_own_distance(d, offset, scale, kinds, inner, seed):
    rng = np.random.default_rng(seed)
    dtype, frame_dtype = kinds
    rows = ((offset + rng.normal(size=(80, d)) * 10.0 ** rng.uniform(-6, 0, (80, 1))) * scale).astype(dtype)
    queries = (rows[:20] + scale * 1e-6 * rng.normal(size=(20, d))).astype(dtype)
    shift = np.zeros(d) if inner else rows.mean(axis=0)
    frame = Frame(shift.astype(dtype), inner, frame_dtype)
    moved, base = frame.move(queries).rows, frame.move(rows)
    scores = frame.scores(moved, base).astype(np.float64)
    values = values_of(rows, queries, np.broadcast_to(np.arange(80), scores.shape), inner=inner)
    for column in range(80):
        assert (scores[:, column] <= frame.limits(moved, values[:, column], base.longest())).all()


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), [(2500, 5, 30), (1025, 300, 3), (3000, 2, 1)])
def test_rows_among_themselves_find_what_other_queries_find(n, d, k, inner):
    """Products that serve two rows, blocks that do not come out even, and duplicates."""
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, d)).astype(np.float32)
    rows[n // 2 :: 7] = rows[: len(rows[n // 2 :: 7])]
    found = brute_force(rows, rows, k, inner=inner)
    some = rng.choice(n, 300, replace=False)
    others = brute_force(rows, rows[some], k, inner=inner)
    assert np.array_equal(found.numbers[some], others.numbers)
    if not inner:
        assert np.array_equal(found.numbers[some], oracle(rows[some], rows)[1][:, :k])


def of_memory(rows, folder):
    brute_force(rows, rows, 5, inner=False)


def of_files(rows, folder):
    np.save(folder / "x.npy", rows)
    fc.NeighborIndex(index="exact").fit(fc.open_rows(folder / "x.npy", memory="500kB")).kneighbors(rows[:300], 5)


@pytest.mark.parametrize("search", [of_memory, of_files])
def test_a_listener_that_raises_ends_a_search_of_all_rows(tmp_path, search):
    rows = np.random.default_rng(0).normal(size=(9000, 8)).astype(np.float32)
    told = []

    def listener(state):
        told.append(state.fraction)
        if state.fraction > 0.3:
            raise KeyboardInterrupt

    with progress.listening(listener), pytest.raises(KeyboardInterrupt):
        search(rows, tmp_path)
    assert told == sorted(told)
    assert told[-1] < 0.5


def test_inner_products_are_compared_in_float64():
    rng = np.random.default_rng(0)
    rows = (1e4 + 1e-2 * rng.normal(size=(500, 20))).astype(np.float32)
    found = brute_force(rows, rows[:50], 5, inner=True)
    products = rows[:50].astype(np.float64) @ rows.T.astype(np.float64)
    best = np.sort(products, axis=1)[:, :-6:-1]
    np.testing.assert_allclose(np.take_along_axis(products, found.numbers, 1), best, rtol=1e-14)
    assert found.recomputed > 0
