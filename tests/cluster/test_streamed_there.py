"""k-means of rows that are more than a GPU holds: the fit of rows that lie there, and blocks that never overtake."""

import contextlib

import numpy as np
import pytest
import torch

import fastclust as fc
from fastclust.errors import BackendError, InputError
from fastclust_kernels.assign.reference import assign as oracle
from fastclust_kernels.staging import Staging
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


class Cuda:
    """Streams that write down what they were told, and in which order."""

    def __init__(self):
        self.told, self._events = [], 0
        outer = self

        class Event:
            def __init__(self):
                self.name = outer._events
                outer._events += 1

            def record(self, stream):
                outer.told.append(("record", self.name, stream.name))

            def synchronize(self):
                outer.told.append(("host waits", self.name))

        class Stream:
            def __init__(self, device=None, name="copies"):
                self.name = name

            def wait_event(self, event):
                outer.told.append((f"{self.name} wait", event.name))

        self.Event, self.Stream = Event, Stream
        self._main = Stream(name="work")

    def current_stream(self):
        return self._main

    def stream(self, _):
        return contextlib.nullcontext()


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_no_block_is_written_to_before_its_copy_and_the_work_on_it_are_done(count):
    cuda = Cuda()
    blocks = [(10 * each, np.full((10 if each < count - 1 else 7, 3), each, np.float32)) for each in range(count)]
    staging = Staging(10, 3, torch.float32, torch.device("cpu"), cuda)
    for turn, (start, there) in enumerate(staging.blocks(iter(blocks))):
        assert start == 10 * turn
        assert torch.equal(there, torch.from_numpy(blocks[turn][1]))
        # The next block is on its way before this one is worked on.
        assert [each[0] for each in cuda.told].count("record") >= min(turn + 2, count)
        cuda.told.append(("work", turn % 2))
    told = cuda.told
    come, done = (0, 1), (2, 3)
    for turn in range(count):
        place = turn % 2
        copied = [at for at, each in enumerate(told) if each == ("record", come[place], "copies")][turn // 2]
        worked = [at for at, each in enumerate(told) if each == ("work", place)][turn // 2]
        finished = [at for at, each in enumerate(told) if each == ("record", done[place], "work")][turn // 2]
        assert copied < worked < finished
        assert ("work wait", come[place]) in told[copied:worked]
        if turn >= 2:
            earlier = [at for at, each in enumerate(told) if each == ("record", done[place], "work")][turn // 2 - 1]
            assert ("host waits", come[place]) in told[:copied]
            assert ("copies wait", done[place]) in told[earlier:copied]
