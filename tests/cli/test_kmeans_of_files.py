"""``fastclust kmeans`` on files that are larger than the memory allowed: progress, Ctrl-C, a kill, what comes out."""

import json
import signal
import subprocess
import sys
import time

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import fastclust as fc
from fastclust.cli import kmeans as verb
from fastclust.cli.main import app
from fastclust.cli.timeleft import KMeansDisplay, clock
from fastclust.errors import DataError, OperationCancelledError, PreconditionError
from fastclust.progress import Progress

N, D, K = 30_000, 6, 20
SMALL = ["--memory", "400kB"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("big")
    rng = np.random.default_rng(3)
    rows = (rng.normal(size=(40, D))[rng.integers(40, size=N)] * 4 + rng.normal(size=(N, D))).astype(np.float32)
    for number, part in enumerate(np.array_split(rows, [7000, 19_000])):
        vector = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), D)
        pq.write_table(pa.table({"id": np.arange(len(part)), "v": vector}), folder / f"s{number}.parquet")
    return sorted(str(path) for path in folder.iterdir())


def arguments(shards, out, *more):
    return ["kmeans", *shards, "-o", str(out), "-k", str(K), *SMALL, *more]


def check(shards, out, **params):
    """What lies in ``out`` is the fit, to the bit, and opens in pandas and DuckDB."""
    model = fc.KMeans(K, random_state=0, **params).fit(fc.open_rows(shards, memory="400kB"))
    table = pd.read_parquet(out / "labels").sort_values("row")
    assert np.array_equal(table["row"], np.arange(N))
    assert np.array_equal(table["label"], model.labels_)
    assert (table["distance"] ** 2).sum() == pytest.approx(model.inertia_)
    counted = duckdb.sql(f"select label, count(*) from '{out}/labels/*.parquet' group by 1 order by 1").fetchall()
    assert counted == list(enumerate(np.bincount(model.labels_)))
    assert np.array_equal(np.load(out / "cluster_centers.npy"), model.cluster_centers_)
    assert np.array_equal(fc.KMeans.load(out / "kmeans.safetensors").cluster_centers_, model.cluster_centers_)
    assert not (out / "kmeans.state").exists()


def test_files_are_clustered_within_memory_and_the_labels_lie_in_a_file_each(shards, tmp_path):
    done = CliRunner().invoke(app, arguments(shards, tmp_path / "a", "--json"))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["backend"] == "numba"
    check(shards, tmp_path / "a")
    names = sorted(path.name for path in (tmp_path / "a/labels").glob("*.parquet"))
    assert names == [f"part-0000{number}-s{number}.parquet" for number in range(3)]
    with pytest.raises(PreconditionError, match="n_clusters"):
        CliRunner().invoke(app, [*arguments(shards, tmp_path / "a"), "-k", "3"], catch_exceptions=False)


@pytest.mark.parametrize("at", [1, 3])
def test_ctrl_c_keeps_the_iteration_and_the_same_command_goes_on(shards, tmp_path, monkeypatch, at):
    monkeypatch.setattr(verb, "_LONG", 0)
    listen = KMeansDisplay.listen
    seen, stopped = [], []

    def stop(self, told):
        listen(self, told)
        seen.extend([told] if told.step == "kmeans" else [])
        if len(seen) == at and told.step == "pass" and not stopped:
            stopped.append(told)
            raise KeyboardInterrupt

    monkeypatch.setattr(KMeansDisplay, "listen", stop)
    with pytest.raises(OperationCancelledError, match=rf"iteration {at} of run 1 is kept in .*The same command"):
        CliRunner().invoke(app, arguments(shards, tmp_path), catch_exceptions=False)
    assert len(seen) == at
    assert CliRunner().invoke(app, arguments(shards, tmp_path)).exit_code == 0
    model = fc.KMeans(K, random_state=0).fit(fc.open_rows(shards, memory="400kB"))
    assert len(seen) == model.n_iter_
    check(shards, tmp_path)


def test_labels_that_were_not_all_written_are_written_without_another_fit(shards, tmp_path, monkeypatch):
    from fastclust.cluster import writing

    real = writing.distances_to_own
    calls = []

    def die(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(writing, "distances_to_own", die)
    with pytest.raises(OperationCancelledError, match="labels not all written"):
        CliRunner().invoke(app, arguments(shards, tmp_path), catch_exceptions=False)
    written = list((tmp_path / "labels").glob("*.parquet"))
    monkeypatch.setattr(fc.KMeans, "fit", None)
    assert CliRunner().invoke(app, arguments(shards, tmp_path)).exit_code == 0
    monkeypatch.undo()
    assert len(written) == 1
    check(shards, tmp_path)


def test_a_signal_ends_it_with_a_sentence(shards, tmp_path):
    script = "from fastclust.cli import kmeans; kmeans._LONG = 0; from fastclust.cli.main import main; main()"
    command = [sys.executable, "-c", script, *arguments(shards, tmp_path)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE)
    end = time.monotonic() + 100
    while not (tmp_path / "kmeans.state/checkpoint.safetensors").exists() and time.monotonic() < end:
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert b"The same command goes on from there" in said
    assert b"Traceback" not in said


def test_what_holds_no_rows_says_so(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"x\.parquet"):
        CliRunner().invoke(app, ["kmeans", str(tmp_path / "x.parquet"), "-o", str(tmp_path)], catch_exceptions=False)


class Shown:
    """A display that remembers."""

    def step(self, name, fraction, message=""):
        self.name, self.fraction, self.message = name, fraction, message


def test_the_time_left_is_exact_within_a_pass_and_a_bound_beyond_it():
    """A pass of 10 s, iterations of 12 s, at most 20 of them, on a clock that the test moves."""
    shown, at = Shown(), [0.0]
    display = KMeansDisplay(shown, 20, lambda: at[0])

    def tell(second, step, fraction, message=""):
        at[0] = second
        display.listen(Progress(step, fraction, message))

    for iteration in range(1, 4):
        began = 12 * (iteration - 1)
        for second in range(6):
            tell(began + second, "pass", second / 10)
        assert "50 % of the rows, 0:05 left of it" in shown.message
        tell(began + 10, "pass", 1.0)
        tell(began + 12, "kmeans", iteration / 20, f"iteration {iteration}")
    assert shown.fraction == pytest.approx(3 / 20)
    # 17 iterations and the labels are left: 18 x 12 s, of which 5 are over.
    for second in range(6):
        tell(36 + second, "pass", second / 10)
    assert shown.name == "kmeans"
    assert shown.message == "iteration 3 done; reading: 50 % of the rows, 0:05 left of it; at most 3:31 in all"
    for files in range(4):
        tell(60 + 30 * files, "write", files / 9, f"{files} of 9 rows")
    assert shown.message == "3 of 9 rows, 3:00 left of it"
    assert clock(3731) == "1:02:11"
