"""Verbs on files that are larger than the memory allowed: results in parts, which open in pandas."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import fastclust as fc
from fastclust.cli.main import app
from fastclust.errors import InputError, OperationCancelledError

N, D = 6000, 5


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


@pytest.fixture(scope="module")
def shards(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("big")
    for number, part in enumerate(np.array_split(rows, 3)):
        np.save(folder / f"{number}.npy", part)
    return [str(path) for path in sorted(folder.iterdir())]


def run(verb, shards, out, *more):
    done = CliRunner().invoke(app, [verb, *shards, "-o", str(out), "--memory", "200kB", *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_neighbours_are_those_of_all_rows(shards, rows, tmp_path):
    run("neighbors", shards, tmp_path, "-k", "4", "--index", "exact")
    table = pd.read_parquet(tmp_path / "neighbors")
    graph = fc.knn_graph(rows, 4, index="exact")
    assert np.array_equal(np.stack(table["indices"]), graph.indices)
    np.testing.assert_allclose(np.stack(table["distances"]), graph.distances, rtol=1e-5)


def test_the_metric_is_that_of_all_rows(shards, rows, tmp_path):
    run("mahalanobis", shards, tmp_path)
    wanted = fc.MahalanobisMetric().fit(rows).get_mahalanobis_matrix()
    np.testing.assert_allclose(np.load(tmp_path / "mahalanobis_matrix.npy"), wanted, rtol=1e-6)


def test_an_embedding_goes_on_after_ctrl_c(shards, rows, tmp_path, monkeypatch):
    learner = fc.SelfTaughtLearner(embedding_dim=4, epochs=1, random_state=0).fit(rows[:300])
    learner.save(tmp_path / "learner.safetensors")
    real, calls = fc.SelfTaughtLearner.transform, []

    def stop(self, X):
        calls.append(len(X))
        if sum(calls) > N // 2 and len(calls) < 999:
            calls.extend([0] * 999)
            raise KeyboardInterrupt
        return real(self, X)

    monkeypatch.setattr(fc.SelfTaughtLearner, "transform", stop)
    model = ["--model", str(tmp_path / "learner.safetensors")]
    with pytest.raises(OperationCancelledError, match="The same command goes on"):
        run("embed", shards, tmp_path / "out", *model)
    written = len(list((tmp_path / "out/embedding").glob("*.parquet")))
    run("embed", shards, tmp_path / "out", *model)
    assert written == 1
    table = pd.read_parquet(tmp_path / "out/embedding")
    np.testing.assert_allclose(np.stack(table["embedding"]), real(learner, rows), atol=1e-5)


def test_several_files_on_a_server_are_refused(shards, tmp_path):
    with pytest.raises(InputError, match="source"):
        run("neighbors", shards, tmp_path, "--server", "127.0.0.1:1")
