"""k-means on rows that stay in their files: the bits of rows in memory, within its memory, through a kill."""

import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fastclust as fc
from fastclust import progress
from fastclust.cluster.chunks import CHUNK, Spread, farthest
from fastclust.cluster.streaming import StreamedRows
from fastclust.data.limits import is_streamed
from fastclust.errors import InputError, InputTypeError, OperationCancelledError, PreconditionError

N, D, K = 30_000, 6, 20


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(3)
    middles = rng.normal(size=(40, D)) * 4
    return (middles[rng.integers(40, size=N)] + rng.normal(size=(N, D))).astype(np.float32)


@pytest.fixture(scope="module")
def files(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    np.save(folder / "x.npy", rows)
    np.save(folder / "wide.npy", rows.astype(np.float64))
    (folder / "shards").mkdir()
    for number, part in enumerate(np.array_split(rows, [7000, 7001, 19_000])):
        vector = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), D)
        pq.write_table(pa.table({"v": vector}), folder / "shards" / f"{number}.parquet", row_group_size=5000)
    small = np.clip(np.round(rows * 8), -128, 127).astype(np.int8)
    with (folder / "x.i8bin").open("wb") as file:
        np.array(small.shape, np.uint32).tofile(file)
        small.tofile(file)
    return folder


def streamed(path):
    """So little memory that a block is a chunk of 4096 rows."""
    source = fc.open_rows(path, memory="400kB")
    assert is_streamed(source)
    return source


def same(one, other):
    assert np.array_equal(one.cluster_centers_, other.cluster_centers_)
    assert one.cluster_centers_.dtype == other.cluster_centers_.dtype
    assert np.array_equal(one.labels_, other.labels_)
    assert (one.inertia_, one.n_iter_) == (other.inertia_, other.n_iter_)


@pytest.mark.parametrize("name", ["x.npy", "wide.npy", "shards", "x.i8bin"])
@pytest.mark.parametrize("init", ["k-means||", "random", "array"])
def test_the_result_is_that_of_rows_in_memory_to_the_bit(files, name, init):
    whole = fc.open_rows(files / name, memory="1GB")
    assert not is_streamed(whole)
    start = whole.read()[:K].astype(np.float32 if name != "wide.npy" else np.float64) if init == "array" else init
    params = {"n_clusters": K, "init": start, "n_init": 2 if init == "random" else 1, "random_state": 5, "max_iter": 30}
    same(fc.KMeans(**params).fit(streamed(files / name)), fc.KMeans(**params).fit(whole))


@pytest.mark.parametrize("metric", ["cosine", "mahalanobis"])
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_and_weights_have_the_same_bits_too(files, rows, metric, weighted):
    chosen = fc.MahalanobisMetric().fit(rows) if metric == "mahalanobis" else metric
    weights = np.random.default_rng(0).random(N) * (np.arange(N) % 5 > 0) if weighted else None
    params = {"n_clusters": K, "init": "k-means||", "random_state": 1, "metric": chosen, "max_iter": 20}
    one = fc.KMeans(**params).fit(streamed(files / "x.npy"), sample_weight=weights)
    same(one, fc.KMeans(**params).fit(rows, sample_weight=weights))
    assert np.array_equal(one.predict(streamed(files / "shards")), one.labels_)
    assert one.score(streamed(files / "x.npy"), sample_weight=weights) == pytest.approx(-one.inertia_)


def test_clusters_without_rows_take_the_same_far_rows(files, rows):
    start = np.vstack([rows[:5], np.full((3, D), 1e4, np.float32)])
    params = {"n_clusters": 8, "init": start, "max_iter": 4, "tol": 0}
    same(fc.KMeans(**params).fit(streamed(files / "x.npy")), fc.KMeans(**params).fit(rows))


@pytest.mark.parametrize("room", [400_000, 900_000, 100_000_000])
def test_blocks_with_and_without_bounds_give_the_same_bits(files, rows, room):
    source = fc.open_rows(files / "x.npy", memory=room)
    model = fc.KMeans(K, init=rows[:K], n_init=1, tol=0, max_iter=12)
    want = fc.KMeans(K, init=rows[:K], n_init=1, tol=0, max_iter=12, algorithm="lloyd").fit(rows)
    same(model.fit(source), want)


def test_a_row_that_is_no_number_is_named(files, rows, tmp_path):
    bad = rows.copy()
    bad[17_123, 4] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(InputError, match="nan at row 17123, column 4"):
        fc.KMeans(3).fit(streamed(tmp_path / "bad.npy"))


def test_labels_that_are_known_are_written_and_no_others_are_mixed_with_them(files, rows, tmp_path):
    model = fc.KMeans(K, random_state=0, max_iter=2).fit(rows)
    path = files / "x.npy"
    for wrong in (np.zeros(N - 1, int), np.full(N, K), np.full(N, -1), np.zeros((N, 1), int)):
        with pytest.raises(InputError, match="labels"):
            model.predict_to(path, tmp_path / "out", labels=wrong)
    for wrong in (np.zeros(N), np.zeros(N, bool), [0.5] * N):
        with pytest.raises(InputTypeError, match="integers"):
            model.predict_to(path, tmp_path / "out", labels=wrong)
    assert not (tmp_path / "out").exists()
    given = np.arange(N, dtype=np.uint8) % K
    model.predict_to(path, tmp_path / "out", labels=given)
    table = pd.read_parquet(tmp_path / "out")
    assert table["label"].dtype == np.int32
    assert np.array_equal(table["label"], given)
    model.predict_to(path, tmp_path / "out", labels=given.astype(np.int64))
    for other in (None, model.labels_):
        with pytest.raises(PreconditionError):
            model.predict_to(path, tmp_path / "out", labels=other)


def test_what_cannot_be_streamed_says_so(files):
    source = streamed(files / "x.npy")
    with pytest.raises(InputError, match=r"allowed: k-means\|\|"):
        fc.KMeans(3, init="k-means++").fit(source)
    with pytest.raises(InputError, match="n_clusters"):
        fc.KMeans(N + 1).fit(source)
    model = fc.KMeans(3, init="random", n_init=1, max_iter=2, random_state=0).fit(source)
    with pytest.raises(InputError, match="rows in memory"):
        model.transform(source)


KILLED = """
import os, signal, sys
import numpy as np
import fastclust as fc
from fastclust import progress
path, folder, die = sys.argv[1], sys.argv[2], sys.argv[3]
seen = []
def listen(told):
    seen.append(told.message)
    late = told.step == "pass" and told.fraction > 0.4 and any("iteration 3" in one for one in seen)
    if late and die == "yes":
        os.kill(os.getpid(), signal.SIGKILL)
source = fc.open_rows(path, memory="400kB")
with progress.listening(listen):
    model = fc.KMeans(20, init="k-means||", random_state=5, tol=0, max_iter=15).fit(source, checkpoint=folder)
found = {"centers": model.cluster_centers_, "labels": model.labels_, "inertia": model.inertia_, "n_iter": model.n_iter_}
np.savez(sys.argv[4], **found)
print(len([one for one in seen if "iteration" in one]))
"""


def test_a_fit_that_was_killed_goes_on_to_the_same_bits(files, tmp_path):
    def run(folder, die, out):
        command = [sys.executable, "-c", KILLED, files / "x.npy", tmp_path / folder, die, tmp_path / out]
        return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)

    assert run("killed", "yes", "none.npz").returncode == -signal.SIGKILL
    resumed, whole = run("killed", "no", "resumed.npz"), run("whole", "no", "whole.npz")
    assert resumed.returncode == 0, resumed.stderr
    assert int(resumed.stdout) == int(whole.stdout) - 3
    one, other = np.load(tmp_path / "resumed.npz"), np.load(tmp_path / "whole.npz")
    for name in ("centers", "labels", "inertia", "n_iter"):
        assert np.array_equal(one[name], other[name])


@pytest.mark.parametrize("at", range(1, 12, 3))
def test_runs_that_were_stopped_anywhere_go_on_to_the_same_bits(files, rows, tmp_path, at):
    params = {"n_clusters": 6, "init": "random", "n_init": 3, "random_state": 2, "tol": 0, "max_iter": 4}
    source = streamed(files / "x.npy")
    whole = fc.KMeans(**params).fit(source)
    seen = []

    def stop(told):
        seen.extend([told] if "iteration" in told.message else [])
        if len(seen) == at:
            raise OperationCancelledError("stopped")

    with pytest.raises(OperationCancelledError), progress.listening(stop):
        fc.KMeans(**params).fit(source, checkpoint=tmp_path)
    same(fc.KMeans(**params).fit(source, checkpoint=tmp_path), whole)
    same(fc.KMeans(**params).fit(source, checkpoint=tmp_path), whole)


def test_a_checkpoint_of_another_fit_is_refused(files, tmp_path):
    source = streamed(files / "x.npy")
    fc.KMeans(3, init="random", n_init=1, max_iter=2, random_state=0).fit(source, checkpoint=tmp_path)
    with pytest.raises(PreconditionError, match="n_clusters"):
        fc.KMeans(4, init="random", n_init=1, max_iter=2, random_state=0).fit(source, checkpoint=tmp_path)
    with pytest.raises(PreconditionError, match="rows"):
        fc.KMeans(3, init="random", n_init=1, max_iter=2, random_state=0).fit(
            streamed(files / "wide.npy"), checkpoint=tmp_path
        )
    with pytest.raises(InputError, match="random_state"):
        fc.KMeans(3).fit(source, checkpoint=tmp_path)


MEMORY = """
import sys, threading, time
import numpy as np
import fastclust as fc

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

path = sys.argv[1]
def fit(memory, n):
    source = fc.open_rows(path, memory=memory)
    start = source.take(np.arange(64)).astype(np.float32)
    init = sys.argv[2] if sys.argv[2] != "array" else start
    return fc.KMeans(64, init=init, n_init=1, max_iter=n, random_state=0).fit(source)

fit("16MiB", 3)  # compiles all that the other one runs
before, most, going = anonymous(), [0.0], [True]
def watch():
    while going[0]:
        most[0] = max(most[0], anonymous())
        time.sleep(0.002)
thread = threading.Thread(target=watch)
thread.start()
fit("32MiB", 3)
going[0] = False
thread.join()
print(most[0] - before)
"""


@pytest.mark.parametrize(("kind", "init"), [("npy", "array"), ("u8bin", "array"), ("npy", "k-means||")])
def test_the_memory_limit_holds(tmp_path, kind, init):
    """256 MB of float32 in 32 MiB, as anonymous resident memory."""
    n, d = 1_000_000, 64
    path = tmp_path / f"x.{kind}"
    rng = np.random.default_rng(0)
    if kind == "npy":
        out = np.lib.format.open_memmap(path, "w+", np.float32, (n, d))
    else:
        np.array([n, d], np.uint32).tofile(path)
        out = np.memmap(path, np.uint8, "r+", 8, (n, d))
    for start in range(0, n, 100_000):
        out[start : start + 100_000] = rng.integers(0, 255, (100_000, d))
    out.flush()
    del out
    command = [sys.executable, "-c", MEMORY, str(path), init]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 32, f"{done.stdout} MiB"


def test_farthest_is_a_sort_by_distance_then_number():
    rng = np.random.default_rng(0)
    for n in (1, 10, 300 * CHUNK):
        distances = rng.integers(0, 50, n).astype(float)
        weights = (rng.random(n) < 0.9).astype(float)
        kept = np.where(weights == 0, 0, distances)
        for most in (1, 3, 40):
            wanted = np.lexsort((np.arange(n), -kept))[: min(most, np.count_nonzero(kept))]
            assert np.array_equal(farthest(distances, weights, most), wanted)


def test_spread_is_numpys_variance_of_columns():
    rows = np.random.default_rng(0).normal(5, 2, size=(3 * CHUNK + 7, 4))
    spread = Spread(4)
    for start in range(0, len(rows), CHUNK):
        spread.add(rows[start : start + CHUNK])
    assert spread.variance() == pytest.approx(rows.var(axis=0).mean(), rel=1e-12)


def test_single_rows_are_what_they_are_in_their_blocks(files, rows):
    from fastclust.cluster.spaces import space_of

    for metric in ("euclidean", "cosine", fc.MahalanobisMetric().fit(rows)):
        seen = StreamedRows(streamed(files / "x.npy"), space_of(metric, D))
        whole = np.concatenate([X.copy() for _, X in seen.blocks()])
        numbers = np.array([29_999, 0, 4096, 12, 12])
        assert np.array_equal(seen.take(numbers), whole[numbers])


def test_large_arrays_of_one_number_a_row_are_not_in_memory(tmp_path):
    from fastclust.data.scratch import scratch

    big = scratch((1 << 23,), np.float64, tmp_path)
    assert not big.any()
    big[:] = 3
    assert big.sum() == 3 * (1 << 23)
    assert not list(tmp_path.iterdir())
    assert os.statvfs(tmp_path)
