"""k-means of other kinds on rows that stay in their files."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastclust as fc
from fastclust.cluster.batches import Batches
from fastclust.cluster.spaces import Space
from fastclust.cluster.streaming import StreamedRows
from fastclust.data.limits import is_streamed
from fastclust.errors import InputError

N, D, K = 40_000, 6, 40


@pytest.fixture(scope="module")
def rows():
    """Sorted by cluster: a batch from one place would know only a few of them."""
    rng = np.random.default_rng(3)
    middles = rng.normal(size=(K, D)) * 6
    return (middles[np.sort(rng.integers(K, size=N))] + rng.normal(size=(N, D))).astype(np.float32)


@pytest.fixture(scope="module")
def files(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    np.save(folder / "x.npy", rows)
    vector = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), D)
    pq.write_table(pa.table({"v": vector}), folder / "x.parquet", row_group_size=300)
    return folder


def streamed(path, memory="500kB"):
    source = fc.open_rows(path, memory=memory)
    assert is_streamed(source)
    return source


def inertia(rows, model, weights=None):
    squared = ((rows.astype(np.float64) - model.cluster_centers_[model.labels_]) ** 2).sum(axis=1)
    return float(squared.sum() if weights is None else squared @ weights)


@pytest.mark.parametrize("name", ["x.npy", "x.parquet"])
def test_batches_of_files_lead_to_as_good_clusters_as_batches_of_memory(files, rows, name):
    params = {"n_clusters": K, "random_state": 1, "batch_size": 2048, "max_iter": 8, "max_no_improvement": None}
    here = fc.MiniBatchKMeans(**params).fit(rows)
    there = fc.MiniBatchKMeans(**params).fit(streamed(files / name))
    assert there.inertia_ == pytest.approx(inertia(rows, there), rel=1e-5)
    assert there.inertia_ <= 1.05 * here.inertia_
    again = fc.MiniBatchKMeans(**params).fit(streamed(files / name))
    assert np.array_equal(again.cluster_centers_, there.cluster_centers_)


def test_weights_of_batches_count(files, rows):
    weights = np.where(np.arange(N) < N // 2, 1.0, 0.0)
    params = {"n_clusters": 24, "random_state": 0, "batch_size": 4096, "max_iter": 5}
    model = fc.MiniBatchKMeans(**params).fit(streamed(files / "x.npy"), sample_weight=weights)
    assert model.inertia_ == pytest.approx(inertia(rows, model, weights), rel=1e-5)
    # Clusters are where the rows that count are.
    everywhere = fc.MiniBatchKMeans(**params).fit(streamed(files / "x.npy"))
    assert model.inertia_ <= 0.5 * inertia(rows, everywhere, weights)


@pytest.mark.parametrize("name", ["x.npy", "x.parquet"])
def test_a_pool_is_small_and_all_rows_come_in_turn(files, name):
    seen = StreamedRows(streamed(files / name), Space())
    batches = Batches(seen, None, 512, np.random.RandomState(0))
    numbers = []
    while not numbers or len(batches._order):
        batches._left = 0
        batch, weights = batches.next()
        assert batch.shape == (512, D)
        assert len(weights) == 512
        assert batches._pool.nbytes <= 500_000 // 2
        numbers.append(batches._numbers)
        assert np.ptp(batches._numbers) > N // 4 or len(batches._order) == 0
    assert np.array_equal(np.sort(np.concatenate(numbers)), np.arange(N))


def test_two_levels_on_files_are_as_good_as_in_memory(files, rows):
    params = {"n_clusters": 300, "n_probes": 6, "max_iter": 10, "random_state": 0}
    here = fc.HierarchicalKMeans(**params).fit(rows)
    there = fc.HierarchicalKMeans(**params).fit(streamed(files / "x.npy", "600kB"))
    assert there.inertia_ == pytest.approx(inertia(rows, there), rel=1e-5)
    assert there.inertia_ <= 1.03 * here.inertia_
    assert there.certified_ > 0.5
    again = fc.HierarchicalKMeans(**params).fit(streamed(files / "x.parquet", "600kB"))
    assert np.array_equal(again.cluster_centers_, there.cluster_centers_)
    assert np.array_equal(again.labels_, there.labels_)
    # A label that is certain is that of the nearest centre.
    wrong = (there.predict(streamed(files / "x.npy")) != there.labels_).mean()
    assert wrong <= 1 - there.certified_


def test_weights_and_a_metric_on_two_levels(files, rows):
    weights = np.random.default_rng(0).random(N)
    model = fc.HierarchicalKMeans(60, max_iter=3, random_state=0, metric="cosine").fit(
        streamed(files / "x.npy"), sample_weight=weights
    )
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert model.inertia_ == pytest.approx(inertia(unit, model, weights), rel=1e-4)


def test_a_sample_that_is_too_small_for_so_many_clusters_says_how_much_is_needed(files):
    with pytest.raises(InputError, match="memory: got 400000; allowed: at least 768000 bytes"):
        fc.HierarchicalKMeans(1000, random_state=0).fit(streamed(files / "x.npy", "400kB"))
