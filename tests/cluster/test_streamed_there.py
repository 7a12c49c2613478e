"""k-means of rows that are more than a GPU holds: the fit of rows that lie there."""

import numpy as np
import pytest
import torch

import fastclust as fc
from fastclust.errors import BackendError, InputError
from fastclust_kernels.assign.reference import assign as oracle
from tests.interpreting import loaded

loaded()


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.fixture
def small_blocks(monkeypatch):
    """Of 32 rows, as if no rows fitted."""
    from fastclust.cluster import device_streaming

    monkeypatch.setattr(device_streaming, "CHUNK", 32)
    monkeypatch.setattr(device_streaming, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(device_streaming, "fits_there", lambda *_: False)


def blobs(n=90, d=4, k=4, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(scale=4, size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


@pytest.mark.parametrize(("metric", "weighted"), [("euclidean", True), ("cosine", False), ("mahalanobis", False)])
def test_a_fit_block_by_block_is_the_fit_of_rows_that_are_there(small_blocks, metric, weighted, tmp_path):
    X = blobs()
    by = fc.MahalanobisMetric().fit(X) if metric == "mahalanobis" else metric
    weights = np.random.default_rng(1).random(len(X)) if weighted else None
    named = {"n_clusters": 4, "init": X[:4].copy(), "metric": by, "max_iter": 4}
    ours = fc.KMeans(backend="triton", **named).fit(X, sample_weight=weights)
    theirs = fc.KMeans(backend="numba", **named).fit(X, sample_weight=weights)
    assert np.array_equal(ours.labels_, theirs.labels_)
    assert (ours.n_iter_, ours.backend_) == (theirs.n_iter_, "triton")
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-5, atol=1e-5)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-6)
    assert 0 < ours.certified_fraction_ <= 1
    assert np.array_equal(ours.predict(X[:40]), theirs.predict(X[:40]))


def test_a_file_goes_there_in_blocks_and_again_to_the_same_bits(small_blocks, tmp_path):
    X = blobs()
    np.save(tmp_path / "rows.npy", X)
    rows = fc.open_rows(tmp_path / "rows.npy", memory=2000)
    start = X[:4].copy()
    start[3] = 1e4  # nothing is near it: an empty cluster takes the farthest row
    named = {"n_clusters": 4, "init": start, "backend": "triton", "random_state": 0, "max_iter": 4}
    one = fc.KMeans(**named).fit(rows)
    other = fc.KMeans(**named).fit(rows, checkpoint=tmp_path / "c")
    again = fc.KMeans(**named).fit(rows, checkpoint=tmp_path / "c")
    assert one.cluster_centers_.tobytes() == other.cluster_centers_.tobytes() == again.cluster_centers_.tobytes()
    assert np.array_equal(one.labels_, oracle(X, one.cluster_centers_)[0])
    assert len(np.unique(one.labels_)) == 4
    with pytest.raises(BackendError, match="elkan"):
        fc.KMeans(4, algorithm="elkan", backend="triton").fit(rows)


def test_a_bad_row_is_named_wherever_its_block_is(small_blocks):
    X = blobs()
    X[70, 2] = np.nan
    with pytest.raises(InputError, match="row 70, column 2"):
        fc.KMeans(3, init=X[:3].copy(), backend="triton").fit(X)


def test_what_is_free_decides_nothing(monkeypatch, tmp_path):
    """Rows that lie there at one fit do at the next: other work on the GPU or the host cuts and moves nothing."""
    from types import SimpleNamespace

    from fastclust.cluster import device_streaming, streaming
    from fastclust.cluster.spaces import Space
    from fastclust.data import limits

    X = blobs(2000)
    np.save(tmp_path / "rows.npy", X)
    rows, told = fc.open_rows(tmp_path / "rows.npy"), fc.open_rows(tmp_path / "rows.npy", memory=2 * X.nbytes)
    less = fc.open_rows(tmp_path / "rows.npy", memory=2 * X.nbytes - 2)
    sizes = {"gpu": 0, "host": 0}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=sizes["gpu"]))
    monkeypatch.setattr(device_streaming, "host_memory", lambda: sizes["host"])
    gpu, found, blocks = torch.device("cuda"), [], set()
    for free in (0, 1 << 50):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_, free=free: (free, free))
        for module in (limits, streaming):
            monkeypatch.setattr(module, "memory_of", lambda source, free=free: source.memory or free // 4)
        blocks.add(device_streaming.DeviceStreamedRows(rows, Space(), None, "triton").block)
        # Rows, a copy of at most twice as many numbers of 4 bytes (16 at least), and 40 bytes a row: .6 of the GPU.
        needed = len(X) * (4 * X.shape[1] + 4 * max(16, 2 * X.shape[1]) + 40) / 0.6
        for there, here in ((1.001, 8), (0.999, 8), (1.001, 7)):
            sizes |= {"gpu": there * needed, "host": here * X.nbytes}
            found.append([device_streaming.streams_there(each, gpu) for each in (X, rows, told, less)])
    assert found[:3] == found[3:]
    assert found[0] == [False, False, False, True]
    assert found[1] == [True, True, True, True]
    assert found[2] == [False, True, False, True]
    assert len(blocks) == 1
