"""``--engine ray`` of the verbs that have it, by the workers of a cluster in this process: ``--address here``."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import fastclust as fc
from fastclust.artifacts import load_array
from fastclust.cli.main import app
from fastclust.errors import InputError

HERE = ["--engine", "ray", "--address", "here", "--workers", "2"]


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(9000, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def file(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, rows)
    return str(path)


def run(*command):
    done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_learning_and_embedding_on_a_cluster(rows, tmp_path):
    few = tmp_path / "few.npy"
    np.save(few, rows[:300])
    learn = ["train", str(few), "-o", str(tmp_path / "out"), "--epochs", "1", "--embedding-dim", "4"]
    told = run(*learn, *HERE)
    teach = next(step for step in told["steps"] if step["name"] == "teach")
    assert (teach["notes"]["engine"], teach["notes"]["n_workers"]) == ("ray", 2)
    embedding = load_array(tmp_path / "out/embedding.npy")
    # Two workers take two batches a step.
    alone = {"embedding_dim": 4, "epochs": 1, "random_state": 0}
    wanted = fc.SelfTaughtLearner(**alone, accumulate=2).fit(rows[:300]).transform(rows[:300])
    np.testing.assert_allclose(embedding, wanted, atol=2e-5)
    assert np.abs(embedding - fc.SelfTaughtLearner(**alone).fit(rows[:300]).transform(rows[:300])).max() > 1e-3
    assert all(step["reused"] for step in run(*learn, *HERE)["steps"] if step["name"] == "teach")
    model = ["--model", str(tmp_path / "out/learner.safetensors")]
    told = run("embed", str(few), "-o", str(tmp_path / "embedded"), *model, *HERE)
    assert told["engine"] == "ray"
    found = np.stack(pd.read_parquet(tmp_path / "embedded/embedding")["embedding"])
    np.testing.assert_allclose(found, embedding, atol=1e-5)


def test_neighbours_on_a_cluster_are_exact(file, rows, tmp_path):
    told = run("neighbors", file, "-o", str(tmp_path), "-k", "3", *HERE)
    assert (told["index"], told["engine"]) == ("exact", "ray")
    found = np.stack(pd.read_parquet(tmp_path / "neighbors")["indices"])
    assert np.array_equal(found, fc.knn_graph(rows, 3, index="exact").indices)
    with pytest.raises(InputError, match="on a cluster neighbours are exact"):
        run("neighbors", file, "-o", str(tmp_path), "--index", "ivf", *HERE)


@pytest.mark.parametrize("verb", ["kmeans", "neighbors", "train", "embed", "run"])
@pytest.mark.parametrize("wrong", [["--engine", "spark"], ["--workers", "2"], ["--engine", "ray", "--server", "x:1"]])
def test_an_engine_that_cannot_be_had_is_refused_before_any_work(verb, wrong, file, tmp_path):
    model = ["--model", "none"] if verb == "embed" else []
    with pytest.raises(InputError, match="engine"):
        run(verb, file, "-o", str(tmp_path / "out"), *model, *wrong)
    assert not (tmp_path / "out").exists()


def test_what_a_cluster_does_nothing_for_is_refused(file, tmp_path):
    with pytest.raises(InputError, match="engine"):
        run("run", file, "-o", str(tmp_path), "--steps", "clusters", *HERE)
    with pytest.raises(InputError, match="n_workers"):
        run("train", file, "-o", str(tmp_path), "--engine", "ray", "--workers", "0")
    for verb, more in (("kmeans", []), ("neighbors", []), ("embed", ["--model", "none"])):
        with pytest.raises(InputError, match="files of rows"):
            run(verb, "digits", "-o", str(tmp_path), *more, *HERE)
