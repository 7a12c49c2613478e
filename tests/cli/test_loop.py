"""What a person does: look at a run, export labels.csv, train on it, run again and see what improved."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from fastclust.artifacts import load_json
from fastclust.cli.main import app

QUICK = ["--epochs", "1", "--map-iterations", "20", "--perplexity", "10", "--json"]


def run(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Scans in a file, and what is written on them in another that only scoring sees."""
    folder, digits = tmp_path_factory.mktemp("digits"), load_digits()
    np.save(folder / "scans.npy", (digits.images[:250] * 15).astype(np.uint8))
    np.save(folder / "truth.npy", digits.target[:250])
    return folder


def test_labels_from_the_report_make_the_next_run_better(source, tmp_path):
    scans, truth = source / "scans.npy", np.load(source / "truth.npy")
    first = run("run", scans, "-o", tmp_path / "first", "--labels", source / "truth.npy", "-k", 10, *QUICK)
    # A person names what the report says to label first, as the page exports it.
    asked = [row for rows in load_json(tmp_path / "first" / "insight.json")["representatives"] for row in rows]
    ids = pq.read_table(tmp_path / "first" / "ids.parquet")["id"].to_pylist()
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        lines = [(ids[row], names[truth[row]]) for row in asked]
        csv.writer(file, lineterminator="\n").writerows([("id", "label"), *lines])
    # The same folder would do; another one keeps the first to compare with.
    known = ["--train-labels", tmp_path / "labels.csv", "--labels", source / "truth.npy"]
    second = run("run", scans, "-o", tmp_path / "second", "-k", 10, *known, *QUICK)
    taught = {step["name"]: step["notes"] for step in second["steps"]}["learn"]
    assert taught["fine_tuned_with"] == len(asked) == 40
    found = run("compare", tmp_path / "first", tmp_path / "second", "--json")
    assert found["params"]["labels trained on"] == [0, 40]
    before, after = found["measures"]["nmi"]
    assert before == pytest.approx(first["quality"]["rows"][-1]["nmi"])
    assert after > before + 0.02
    assert (tmp_path / "second" / "compare.html").is_file()
    # What the 40 say of the other 210, along the graph.
    table = pq.read_table(tmp_path / "second" / "map.parquet").to_pydict()
    right = np.mean([name == names[digit] for name, digit in zip(table["spread_label"], truth, strict=True)])
    assert right > 0.85


def test_train_fine_tunes_and_the_run_after_it_goes_on_from_there(source, tmp_path):
    (tmp_path / "labels.csv").write_text("id,label\n0,zero\n1,one\n2,two\n10,zero\n11,one\n")
    arguments = [source / "scans.npy", "-o", tmp_path / "run", "--epochs", 1]
    run("train", *arguments, "--labels", tmp_path / "labels.csv", "--json")
    told = run("run", *arguments, "--train-labels", tmp_path / "labels.csv", "--steps", "learn,clusters", "--json")
    assert [step["name"] for step in told["steps"] if step["reused"]] == ["read", "features", "teach", "learn"]


def test_view_names_the_page_and_writes_it_where_it_is_missing(source, tmp_path):
    run("run", source / "scans.npy", "-o", tmp_path, "-k", 3, "--steps", "clusters,map", *QUICK)
    assert not (tmp_path / "report.html").exists()
    told = run("view", tmp_path, "--no-browser", "--json")
    assert told["report"] == str(tmp_path / "report.html")
    assert (tmp_path / "report.html").is_file()
