"""Neighbours among rows that stay in their files."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import fastclust as fc
from fastclust.errors import BackendError, InputError, PreconditionError
from fastclust.neighbors.merging import Nearest

N, D = 12_000, 5


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    rows = (rng.normal(size=(60, D))[rng.integers(60, size=N)] * 5 + rng.normal(size=(N, D)) + 50).astype(np.float32)
    rows[100:103] = rows[7]
    return rows


@pytest.fixture(scope="module")
def files(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    for number, part in enumerate(np.array_split(rows, [5000, 5001])):
        np.save(folder / f"{number}.npy", part)
    return folder


def source(files):
    return fc.open_rows(files, memory="400kB")


def truth(queries, rows, metric):
    if metric == "inner_product":
        return -(queries.astype(np.float64) @ rows.T.astype(np.float64))
    return cdist(queries.astype(np.float64), rows.astype(np.float64), metric)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "inner_product"])
def test_exact_neighbours_are_those_of_all_distances_in_float64(files, rows, metric):
    index = fc.NeighborIndex(metric, index="exact").fit(source(files))
    queries = rows[::400] + np.float32(0.1)
    distances, found = index.kneighbors(queries, 9)
    wanted = truth(queries, rows, metric)
    np.testing.assert_allclose(
        distances, np.sort(wanted, axis=1)[:, :9], rtol=1e-3 if metric == "cosine" else 1e-5, atol=1e-7
    )
    np.testing.assert_allclose(np.take_along_axis(wanted, found, 1), distances, rtol=1e-3, atol=1e-6)
    assert index.index_ == "exact"


def test_a_metric_that_was_fitted_is_kept_to(files, rows):
    metric = fc.MahalanobisMetric().fit(rows)
    found = fc.NeighborIndex(metric, index="exact").fit(source(files)).kneighbors(rows[:20], 5, return_distance=False)
    assert np.array_equal(found, metric.kneighbors(rows[:20], rows, 5, return_distance=False))


def test_lists_find_nearly_all_and_their_distances_are_true(files, rows):
    index = fc.NeighborIndex().fit(source(files))
    assert index.index_ == "ivf"
    assert index._engine._rows.shape == (N, D)
    distances, found = index.kneighbors(rows[::10], 10)
    wanted = cdist(rows[::10].astype(np.float64), rows.astype(np.float64))
    np.testing.assert_allclose(distances, np.take_along_axis(wanted, found, 1), rtol=1e-5, atol=1e-6)
    reach = np.sort(wanted, axis=1)[:, 9:10]
    assert (distances <= reach * (1 + 1e-5)).mean() > 0.97
    # More than one list holds: the lists that are looked into grow until they are enough.
    assert (index.kneighbors(rows[:3], N // 2)[1] >= 0).all()


@pytest.mark.parametrize("index", ["exact", "ivf"])
def test_the_neighbours_of_all_rows_are_written_and_taken_up_again(files, rows, tmp_path, index, monkeypatch):
    model = fc.NeighborIndex(index=index).fit(source(files))
    real, calls = model._engine.search, []

    def die(*given):
        calls.append(given)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(model._engine, "together", lambda _: 1500)
    monkeypatch.setattr(model._engine, "search", die)
    with pytest.raises(KeyboardInterrupt):
        model.kneighbors_to(None, tmp_path / "out", 4)
    written = list((tmp_path / "out").glob("*.parquet"))
    assert len(written) == 1
    model.kneighbors_to(None, tmp_path / "out", 4)
    table = pd.read_parquet(tmp_path / "out")
    indices, distances = np.stack(table["indices"]), np.stack(table["distances"])
    assert not (indices == np.arange(N)[:, None]).any()
    sample = np.append(np.arange(0, N, 97), [7, 100, 101, 102])
    wanted = cdist(rows[sample].astype(np.float64), rows.astype(np.float64))
    wanted[np.arange(len(sample)), sample] = np.inf
    reach = np.sort(wanted, axis=1)[:, :4]
    near = np.isclose(distances[sample], reach, rtol=1e-4, atol=1e-5)
    assert near.all() if index == "exact" else near.mean() > 0.97
    with pytest.raises(PreconditionError):
        model.kneighbors_to(None, tmp_path / "out", 5)


def test_what_files_cannot_do_says_so(files, rows):
    with pytest.raises(BackendError, match="Allowed for such: auto, exact, ivf"):
        fc.NeighborIndex(index="hnsw").fit(source(files))
    with pytest.raises(BackendError, match="Allowed for such: auto, exact;"):
        fc.NeighborIndex("inner_product", index="ivf").fit(source(files))
    index = fc.NeighborIndex(index="exact").fit(source(files))
    for call in (index.graph, lambda: index.add(rows), lambda: index.save("x")):
        with pytest.raises(InputError, match="kneighbors_to"):
            call()
    with pytest.raises(InputError, match="columns"):
        index.kneighbors(rows[:, :3])
    with pytest.raises(InputError, match="n_neighbors"):
        index.kneighbors(rows[:3], N + 1)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_the_best_do_not_depend_on_how_blocks_are_cut(data):
    q, n, keep = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 40)), data.draw(st.integers(1, 6))
    seed = data.draw(st.integers(0, 999))
    # Few values, so that ties are everywhere.
    scores = np.random.default_rng(seed).integers(0, 4, (q, n)).astype(np.float64)
    cuts = sorted(data.draw(st.sets(st.integers(1, n), max_size=5)) | {0, n})
    best = Nearest(q, keep)
    for low, high in pairwise(cuts):
        best.merge(slice(None), scores[:, low:high], np.tile(np.arange(low, high), (q, 1)))
    order = np.argsort(scores, axis=1, kind="stable")[:, :keep]
    many = order.shape[1]
    assert np.array_equal(best.numbers[:, :many], order)
    assert (best.numbers[:, many:] == -1).all()
    assert np.array_equal(best.scores[:, :many], np.take_along_axis(scores, order, 1))
