import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

import fastclust as fc
from fastclust.cli.demo import server
from fastclust.cli.main import app, main


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = (rng.normal(scale=6, size=(4, 6))[rng.integers(4, size=200)] + rng.normal(size=(200, 6))).astype(np.float32)
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, rows)
    return path


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-c", "from fastclust.cli.main import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with server(tmp_path_factory.mktemp("server") / "data") as at:
        yield at


@pytest.mark.parametrize("remote", [False, True])
def test_kmeans_writes_the_same_here_and_on_a_server(rows_file, tmp_path, address, remote):
    there = ["--server", address] if remote else []
    done = CliRunner().invoke(app, ["kmeans", str(rows_file), "-o", str(tmp_path), "-k", "4", "--json", *there])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    here = fc.KMeans(4, random_state=0).fit(np.load(rows_file))
    assert np.array_equal(np.load(tmp_path / "labels.npy"), here.labels_)
    assert told["inertia"] == pytest.approx(here.inertia_)
    assert told["backend"] == "numba"


@pytest.mark.parametrize("remote", [False, True])
def test_a_number_of_clusters_and_labels_of_all_are_found_here_and_on_a_server(rows_file, tmp_path, address, remote):
    there = ["--server", address, "--json"] if remote else ["--json"]
    out = ["-o", str(tmp_path)]
    done = CliRunner().invoke(app, ["choose-k", str(rows_file), *out, "--ks", "2-4,6", *there])
    assert done.exit_code == 0, done.output
    rows = np.load(rows_file)
    choice = fc.insight.choose_k(rows, [2, 3, 4, 6])
    assert json.loads(done.stdout)["k"] == choice.k
    assert np.load(tmp_path / "silhouette.npy").tolist() == [point.silhouette for point in choice.curve]
    (tmp_path / "given.csv").write_text("id,label\n0,1\n1,0\n")
    given = ["--labels", str(tmp_path / "given.csv"), "-k", "5"]
    done = CliRunner().invoke(app, ["propagate-labels", str(rows_file), *out, *given, *there])
    assert done.exit_code == 0, done.output
    known = np.array([1, 0] + 198 * [-1])
    expected = fc.insight.propagate_labels(fc.knn_graph(rows, n_neighbors=5), known)
    assert np.array_equal(np.load(tmp_path / "labels.npy"), expected.labels)
    assert np.array_equal(np.load(tmp_path / "confidence.npy"), expected.confidence)


@pytest.mark.parametrize(
    ("verb", "options", "file", "shape"),
    [
        ("neighbors", ["-k", "5"], "indices.npy", (200, 5)),
        ("tsne", ["--max-iter", "20", "--perplexity", "5"], "embedding.npy", (200, 2)),
        ("mahalanobis", [], "mahalanobis_matrix.npy", (6, 6)),
        ("train", ["--epochs", "1", "--embedding-dim", "4"], "embedding.npy", (200, 4)),
    ],
)
def test_each_verb_writes_its_arrays(rows_file, tmp_path, verb, options, file, shape):
    done = CliRunner().invoke(app, [verb, str(rows_file), "-o", str(tmp_path), *options])
    assert done.exit_code == 0, done.output
    assert np.load(tmp_path / file).shape == shape


def test_an_interrupted_map_goes_on_when_the_same_command_is_given_again(rows_file, tmp_path):
    def arguments(out):
        return ["tsne", str(rows_file), "-o", str(out), "--max-iter", "10000", "--perplexity", "5", "--json"]

    script = "from fastclust.cli.main import main; main()"
    running = subprocess.Popen([sys.executable, "-c", script, *arguments(tmp_path / "a")], stderr=subprocess.PIPE)
    end = time.monotonic() + 100
    while not (tmp_path / "a" / "tsne.state").exists() and time.monotonic() < end:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert b"Traceback" not in said
    done = CliRunner().invoke(app, arguments(tmp_path / "a"))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["resumed_from"] >= 50
    assert not (tmp_path / "a" / "tsne.state").exists()
    whole = fc.TSNE(perplexity=5, max_iter=10_000, random_state=0).fit_transform(np.load(rows_file))
    assert np.array_equal(np.load(tmp_path / "a" / "embedding.npy"), whole)


def test_embed_uses_what_train_learned(rows_file, tmp_path):
    runner = CliRunner()
    train = ["train", str(rows_file), "-o", str(tmp_path / "a"), "--epochs", "1", "--embedding-dim", "4"]
    assert runner.invoke(app, train).exit_code == 0
    model = str(tmp_path / "a" / "learner.safetensors")
    assert runner.invoke(app, ["embed", str(rows_file), "-o", str(tmp_path / "b"), "--model", model]).exit_code == 0
    first, second = np.load(tmp_path / "a" / "embedding.npy"), np.load(tmp_path / "b" / "embedding.npy")
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_run_of_vectors_writes_the_report_and_is_taken_over_the_second_time(rows_file, tmp_path):
    arguments = ["run", str(rows_file), "-o", str(tmp_path), "-k", "4", "--epochs", "1", "--map-iterations", "20"]
    arguments += ["--perplexity", "5", "--json"]
    first = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert (tmp_path / "report.html").is_file()
    assert not any(step["reused"] for step in first["steps"])
    second = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert all(step["reused"] for step in second["steps"])


def test_jobs_are_listed_shown_and_cancelled(rows_file, tmp_path, address):
    runner = CliRunner()
    submitted = runner.invoke(app, ["kmeans", str(rows_file), "-o", str(tmp_path), "-k", "2", "--server", address])
    assert submitted.exit_code == 0
    listed = json.loads(runner.invoke(app, ["jobs", "ls", "--server", address, "--json"]).stdout)
    name = listed["jobs"][0]["name"]
    shown = json.loads(runner.invoke(app, ["jobs", "show", name.split("/")[1], "--server", address, "--json"]).stdout)
    assert (shown["name"], shown["state"], shown["kind"]) == (name, "succeeded", "kmeans")
    assert runner.invoke(app, ["jobs", "watch", name, "--server", address]).exit_code == 0
    arguments = ["jobs", "download", name, "-o", str(tmp_path / "again"), "--server", address, "--json"]
    told = json.loads(runner.invoke(app, arguments).stdout)
    assert sorted(told["files"]) == ["cluster_centers.npy", "kmeans.safetensors", "labels.npy"]
    assert np.array_equal(np.load(tmp_path / "again" / "labels.npy"), np.load(tmp_path / "labels.npy"))
    cancelled = runner.invoke(app, ["jobs", "cancel", name, "--server", address])
    assert (cancelled.exit_code, cancelled.stderr) == (0, f"{name}: succeeded already\n")
    table = runner.invoke(app, ["jobs", "ls", "--server", address], env={"COLUMNS": "80"}).stdout
    assert re.search(rf"^{name} +kmeans +succeeded +100% +1 +\d\d-\d\d \d\d:\d\d *$", table, re.MULTILINE), table
    there = ["--server", address, "--json"]
    data = json.loads(runner.invoke(app, ["datasets", "ls", *there]).stdout)["datasets"][0]
    assert (data["display_name"], data["n_rows"]) == ("rows", 200)
    assert re.search(
        rf"^{data['name']} +rows +200 +4,800 *$",
        runner.invoke(app, ["datasets", "ls", *there[:2]]).stdout,
        re.MULTILINE,
    )
    for kind, gone in (("jobs", name), ("datasets", data["name"])):
        done = runner.invoke(app, [kind, "delete", gone.split("/")[1], *there])
        assert json.loads(done.stdout) == {"deleted": [gone]}
        assert gone not in runner.invoke(app, [kind, "ls", *there]).stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["kmeans", "ROWS", "-o", "OUT", "-k", "201"], 2, "n_clusters: got 201; allowed: 1..200"),
        (["kmeans", "nothing.npy", "-o", "OUT"], 2, "nothing.npy"),
        (["kmeans", "ROWS", "-o", "OUT", "--metric", "manhattan"], 2, "metric: got 'manhattan'"),
        (["choose-k", "ROWS", "-o", "OUT", "--ks", "2-x"], 2, "ks: got '2-x'"),
        (["jobs", "ls", "--server", "127.0.0.1:1"], 1, "fastclust serve"),
        (["choose-k", "ROWS", "-o", "OUT", "--ks", "9-2"], 2, '"2-9"'),
        (["kmeans", "ROWS", "--outt", "OUT"], 2, "--outt"),
        (["kmeans", "ROWS"], 2, "See: fastclust kmeans --help"),
        (["compare", "OUT", "OUT"], 2, "Run: fastclust run SOURCE -o"),
        (["propagate-labels", "ROWS", "-o", "OUT", "--labels", "LABELS"], 2, "the header id,label"),
    ],
)
def test_errors_are_a_sentence_and_a_status(rows_file, tmp_path, monkeypatch, capsys, arguments, status, words):
    """In this process; the next tests see the same of a process of its own."""
    (tmp_path / "labels.csv").write_text("3 7\n")
    swap = {"ROWS": rows_file, "OUT": tmp_path, "LABELS": tmp_path / "labels.csv"}
    monkeypatch.setattr(sys, "argv", ["fastclust", *(str(swap.get(word, word)) for word in arguments)])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == status, said
    last = said.splitlines()[-1]  # one line, however wide a terminal is
    assert last.startswith("error: ")
    assert words in last


def test_doctor_names_every_operation_and_why_not_the_others():
    done = CliRunner().invoke(app, ["doctor", "--json"])
    found = json.loads(done.stdout)
    assert {row["operation"] for row in found["backends"]} >= {"assign", "update", "mahalanobis", "neighbors", "tsne"}
    assert all(row["reasons"] or row["chosen"] for row in found["backends"])
    assert found["faiss"]["wheel"].startswith("faiss-")
    assert found["machine"]["cores"] == len(os.sched_getaffinity(0))
    shown = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": None}).stdout
    reasons = max((reason for row in found["backends"] for reason in row["reasons"]), key=len)
    assert reasons in shown, "no table is folded where no terminal is"
    assert "assign" in shown
    assert "fastclust[gpu]" in shown


def test_doctor_says_where_nets_are_trained_and_why_not_on_a_gpu(monkeypatch):
    import torch

    from fastclust.cli import doctor

    def told():
        rows = {row["backend"]: row for row in doctor._backends() if row["operation"] == "learning"}
        assert rows["cpu"]["chosen"]
        assert not rows["cuda"]["chosen"]
        return rows["cuda"]["reasons"][0]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "sees no CUDA GPU" in told()
    monkeypatch.setattr(doctor, "_architectures", list)
    monkeypatch.setattr("fastclust.learning.devices.choose_device", torch.device)
    assert "runs with device='cuda'" in told()


def test_doctor_says_what_auto_takes_of_rows_on_a_gpu_and_why(monkeypatch):
    from fastclust.cli import doctor

    monkeypatch.setattr(doctor, "_architectures", lambda: ["sm_90"])
    found = {(row["operation"], row["backend"]): row for row in doctor._backends()}
    kernels = found["assign, rows on sm_90", "triton"]
    # Where a pass is recorded, it is chosen; nothing has run on one.
    assert not kernels["chosen"]
    assert kernels["reasons"] == ["no pass against the oracle is recorded on sm_90; ask for it by name"]
    assert "runs on cpu, not on cuda" in found["assign, rows on sm_90", "numba"]["reasons"]
    assert found["assign", "numba"]["chosen"]
    assert found["neighbors", "gpu"]["reasons"]


def test_the_demo_runs_the_main_job_and_leaves_no_process(tmp_path):
    digits = fc.open_images("digits")
    folder = tmp_path / "images"
    for row in range(100):
        path = folder / str(digits.labels[row]) / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        digits.image(row).save(path)
    done = command("demo", "--data", folder, "-o", tmp_path / "demo", "--storage", tmp_path / "server")
    assert done.returncode == 0, done.stderr
    for words in ("raw pixels", "learned", "recall@1", "all, with server and upload"):
        assert words in done.stdout
    assert (tmp_path / "demo" / "report.html").stat().st_size > 100_000
    assert (tmp_path / "demo" / "map.png").is_file()
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(tmp_path) in " ".join(process.info["cmdline"] or [])
    ]
    assert left == []


def test_serve_refuses_a_public_address_without_keys(tmp_path):
    done = command("serve", "--listen", "0.0.0.0:0", "--data", tmp_path)
    assert done.returncode == 2
    assert "--tokens" in done.stderr


def test_errors_are_objects_for_programs(rows_file, tmp_path):
    done = command("kmeans", str(rows_file), "-o", str(tmp_path), "-k", "201", "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)["error"]
    assert told["reason"] == "INVALID_INPUT"
    assert told["message"] in done.stderr.replace("\n", " ")


def test_warnings_are_sentences(tmp_path):
    np.save(tmp_path / "equal.npy", np.ones((20, 3), np.float32))
    done = command("kmeans", str(tmp_path / "equal.npy"), "-o", str(tmp_path / "out"), "-k", "3")
    assert done.returncode == 0, done.stderr
    assert "warning: " in done.stderr
    assert ".py:" not in done.stderr
