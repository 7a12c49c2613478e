"""Few rows: defaults of verbs and of runs are lowered and said; what was given is obeyed or refused."""

import numpy as np
import pytest
from typer.testing import CliRunner

import fastclust as fc
from fastclust import progress
from fastclust.cli import few
from fastclust.cli.main import app
from fastclust.errors import InputError
from fastclust.insight.choice import KPoint, _best
from fastclust.pipeline.params import RunParams


def rows_of(n, d=4):
    return np.random.default_rng(n).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize(
    ("n", "neighbors", "perplexity"), [(2, 1, 1), (3, 2, 1), (10, 9, 3), (40, 15, 13), (91, 15, 30), (1000, 15, 30)]
)
def test_a_run_takes_what_there_is(n, neighbors, perplexity):
    taken = RunParams().for_rows(n)
    assert (taken.n_neighbors, taken.perplexity) == (neighbors, pytest.approx(perplexity))
    assert 1 <= taken.graph_neighbors(n) <= n - 1
    assert bool(RunParams().lowered(n)) == (n < 91)


def test_what_was_given_is_obeyed_or_refused():
    assert RunParams(n_neighbors=3, perplexity=2.5).for_rows(10) == RunParams(n_neighbors=3, perplexity=2.5)
    assert RunParams(n_neighbors=3, perplexity=2.5).lowered(10) == []
    with pytest.raises(InputError, match="n_neighbors: got 15"):
        RunParams(n_neighbors=15).for_rows(15)
    with pytest.raises(InputError, match="perplexity: got 30"):
        RunParams(perplexity=30).for_rows(40)
    with pytest.raises(InputError, match="source: got 1 rows"):
        RunParams().for_rows(1)


def test_a_run_says_what_it_lowered(tmp_path):
    heard = []
    with progress.listening(heard.append):
        done = fc.run(rows_of(6), tmp_path, steps=["graph"])
    assert [told.message for told in heard if told.step == progress.NOTICE] == [
        "6 rows: n_neighbors 5, not 15 and perplexity 1.67, not 30"
    ]
    assert np.load(done.path / "features.npy").shape == (6, 4)
    assert next(step for step in done.steps if step["name"] == "graph")["notes"]["n_neighbors"] == 5


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_run_of_very_few_rows_ends_with_a_report(tmp_path, n):
    done = fc.run(rows_of(n), tmp_path, epochs=1, map_max_iter=20)
    assert (tmp_path / "report.html").is_file()
    assert np.load(tmp_path / "map.npy").shape == (n, 2)
    assert np.isfinite(np.load(tmp_path / "map.npy")).all()
    assert next(step for step in done.steps if step["name"] == "clusters")["notes"]["n_clusters"] == n // 2


@pytest.mark.parametrize(
    ("verb", "file", "shape", "said"),
    [
        ("neighbors", "indices.npy", (3, 2), "3 rows: neighbors 2, not 15"),
        ("tsne", "embedding.npy", (3, 2), "3 rows: perplexity 1, not 30"),
        ("kmeans", "cluster_centers.npy", (1, 4), "3 rows: clusters 1, not 8"),
    ],
)
def test_a_verb_takes_what_there_is_and_says_so(tmp_path, verb, file, shape, said):
    np.save(tmp_path / "rows.npy", rows_of(3))
    done = CliRunner().invoke(app, [verb, str(tmp_path / "rows.npy"), "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert said in done.output
    assert np.load(tmp_path / file).shape == shape


@pytest.mark.parametrize(("asked", "found"), [(None, 8), (20, 20), (0, 0)])
def test_a_number_of_clusters_that_was_asked_for_is_handed_on(asked, found):
    assert few.clusters_for(asked, 1000, quiet=False) == found


def test_a_number_of_clusters_is_chosen_where_none_agrees_better_than_chance():
    curve = [KPoint(2, 0.1, 1.0, -0.2, 1.0), KPoint(3, 0.2, 1.0, -0.1, 1.0), KPoint(4, 0.3, 1.0, -0.5, 1.0)]
    assert _best(curve) == 3
