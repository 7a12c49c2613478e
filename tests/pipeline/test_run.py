"""The whole run on scikit-learn's digits, in the small."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import fastclust as fc
from fastclust.artifacts import load_array
from fastclust.errors import InputError, InputTypeError, OperationCancelledError, PreconditionError
from fastclust.pipeline import STEPS
from fastclust.pipeline.folder import RunFolder
from fastclust.progress import listening

QUICK = {"epochs": 1, "map_max_iter": 50, "n_clusters": 10, "perplexity": 10.0}


@pytest.fixture(scope="module")
def images():
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.images[:400] * 15).astype(np.uint8), digits.target[:400]


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    heard = []
    with listening(heard.append):
        result = fc.run(images[0], out, labels=images[1], **QUICK)
    return result, heard


def test_a_run_leaves_every_file_that_the_architecture_lists(finished):
    names = {path.name for path in finished[0].path.iterdir()}
    assert {
        "run.json", "ids.parquet", "features.npy", "embedding.npy", "learner.safetensors", "graph.safetensors",
        "kmeans.safetensors", "labels.npy", "map.npy", "map.parquet", "quality.json", "insight.json", "report.html",
        "map.png", "thumbnails.json",
    } <= names  # fmt: skip
    assert not [name for name in names if name.endswith(".part")]


def test_the_files_agree_with_each_other(finished, images):
    path = finished[0].path
    n_rows = len(images[0])
    table = pq.read_table(path / "map.parquet")
    labels = load_array(path / "labels.npy")
    assert load_array(path / "embedding.npy").shape[0] == n_rows
    assert np.array_equal(table["cluster"].to_numpy(), labels)
    assert np.allclose(np.c_[table["x"], table["y"]], load_array(path / "map.npy"))
    assert np.array_equal(table["label"].to_numpy(), images[1])
    assert set(np.unique(labels)) <= set(range(10))


def test_distances_in_the_table_are_those_to_the_own_centre(finished):
    from fastclust.cluster import KMeans

    path = finished[0].path
    embedding = load_array(path / "embedding.npy").astype(np.float64)
    model = KMeans.load(path / "kmeans.safetensors")
    expected = np.linalg.norm(embedding - model.cluster_centers_[model.labels_], axis=1)
    assert np.allclose(pq.read_table(path / "map.parquet")["distance"].to_numpy(), expected, atol=1e-5)


def test_learned_figures_stand_beside_those_of_raw_pixels(finished):
    rows = finished[0].quality["rows"]
    assert [row["features"] for row in rows] == ["raw pixels", "learned"]
    for row in rows:
        assert all(0 <= row[name] <= 1 for name in ("accuracy", "nmi", "recall_at_1"))


def test_progress_names_every_step_in_order_and_never_goes_back(finished):
    result, heard = finished
    overall = [progress.overall for progress in heard]
    assert overall == sorted(overall)
    assert overall[-1] == pytest.approx(1.0)
    assert list(dict.fromkeys(progress.step for progress in heard)) == [step["name"] for step in result.steps]


def ran(result):
    """Names of the steps that were done and not taken over."""
    return {step["name"] for step in result.steps if not step["reused"]}


def test_what_changed_is_done_again_and_nothing_else(images, tmp_path):
    """The whole table: one thing is changed at a time."""
    pixels, truth = images[0][:90], images[1][:90]
    quick = {**QUICK, "n_clusters": 4, "perplexity": 5.0}
    some = np.where(np.arange(90) % 5, -1, truth)

    def again(**changed):
        return ran(fc.run(pixels, tmp_path, **{**quick, "labels": truth, **changed}))

    everything = {step.name for step in STEPS}
    assert again() == everything
    assert again() == set()
    told = {"insight", "quality", "report"}
    assert again(title="another") == {"report"}
    assert again(n_clusters=5) == {"clusters", *told}
    assert again(labels=some) == {"read", "clusters", *told}  # 5 clusters were before, 4 are now
    assert again() == {"read", *told}
    assert again(perplexity=6.0) == {"graph", "map", *told}
    assert again(map_max_iter=60) == {"map", *told} | {"graph"}  # back to perplexity 5
    assert again(train_labels=some) == {"learn", "metric", "graph", "clusters", "map", *told}
    assert again(embedding_dim=16) == everything - {"read", "features"}


def test_fine_tuning_goes_on_from_what_was_learned_without_labels(images, tmp_path):
    from fastclust.learning import SelfTaughtLearner

    pixels, truth = images[0][:120], images[1][:120].astype(np.int64)
    some = np.where(np.arange(120) % 4, -1, truth)
    fc.run(pixels, tmp_path, steps=["learn"], epochs=1)
    done = fc.run(pixels, tmp_path, steps=["learn"], epochs=1, train_labels=some)
    assert {step["name"]: step["reused"] for step in done.steps}["teach"]
    assert done.steps[-1]["notes"]["fine_tuned_with"] == 30
    directly = SelfTaughtLearner(epochs=1, random_state=0).fit(pixels).fine_tune(pixels, some).transform(pixels)
    np.testing.assert_array_equal(load_array(tmp_path / "embedding.npy"), directly)


def test_the_number_of_clusters_is_chosen_where_it_is_auto(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(240, 6)) + np.repeat(9 * np.eye(6)[:4], 60, axis=0)
    fast = {"steps": ["clusters"], "perplexity": 5.0}
    done = fc.run(rows, tmp_path, n_clusters="auto", **fast)
    assert done.steps[-1]["notes"]["n_clusters"] == 4
    choice = json.loads((tmp_path / "choice.json").read_text())
    assert choice["k"] == 4
    assert [point["k"] for point in choice["curve"]] == [*list(range(2, 21)), 24]
    assert ran(fc.run(rows, tmp_path, n_clusters="auto", **fast)) == set()
    fc.run(rows, tmp_path, n_clusters=3, **fast)
    assert not (tmp_path / "choice.json").exists()


def test_labels_to_train_on_are_spread_over_the_graph(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(90, 4)) + np.repeat(12 * np.eye(4)[:3], 30, axis=0)
    known = "".join(f"{30 * place + 3},{name}\n" for place, name in enumerate(("boot", "bag", "shirt")))
    (tmp_path / "labels.csv").write_text("id,label\n" + known)
    steps = ["insight"]
    fc.run(rows, tmp_path, steps=steps, n_clusters=3, perplexity=5.0, train_labels=tmp_path / "labels.csv")
    table = pq.read_table(tmp_path / "map.parquet").to_pydict()
    assert table["spread_label"] == ["boot"] * 30 + ["bag"] * 30 + ["shirt"] * 30
    assert [table["spread_confidence"][row] for row in (3, 33, 63)] == [1.0, 1.0, 1.0]
    found = json.loads((tmp_path / "insight.json").read_text())
    assert found["duplicate_threshold"] == found["duplicate_evidence"]["threshold"] > 0


def test_a_damaged_file_is_made_again(images, tmp_path):
    some = images[0][:120]
    fc.run(some, tmp_path, steps=["clusters"], **QUICK)
    (tmp_path / "labels.npy").write_bytes(b"short")
    again = fc.run(some, tmp_path, steps=["clusters"], **QUICK)
    assert {step["name"]: step["reused"] for step in again.steps}["clusters"] is False
    assert len(load_array(tmp_path / "labels.npy")) == 120


def test_a_stopped_run_goes_on_where_it_stood(images, tmp_path):
    def stop(progress):
        if progress.step == "map":
            raise OperationCancelledError("asked to stop")

    some = images[0][:120]
    with listening(stop), pytest.raises(OperationCancelledError):
        fc.run(some, tmp_path, **QUICK)
    resumed = fc.run(some, tmp_path, **QUICK)
    reused = {step["name"]: step["reused"] for step in resumed.steps}
    assert reused["learn"]
    assert not reused["map"]


def test_the_same_seed_gives_the_same_bits(finished, images, tmp_path):
    fc.run(images[0], tmp_path, steps=["learn", "map", "clusters"], **QUICK)
    for file in ("embedding.npy", "labels.npy", "map.npy"):
        assert (tmp_path / file).read_bytes() == (finished[0].path / file).read_bytes()


def test_vectors_without_labels_run_without_the_learning_step(tmp_path):
    rows = np.random.default_rng(0).normal(size=(150, 6)) + np.repeat(np.eye(3, 6) * 9, 50, axis=0)
    names = ["graph", "clusters", "map", "insight", "quality", "report"]
    result = fc.run(rows, tmp_path, steps=names, n_clusters=3, perplexity=10, map_max_iter=50)
    labels = load_array(tmp_path / "labels.npy").reshape(3, 50)
    assert [len(set(group)) for group in labels.tolist()] == [1, 1, 1]
    assert result.quality["rows"] == []
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert not (tmp_path / "learner.safetensors").exists()


def test_a_mahalanobis_run_uses_one_fitted_metric(tmp_path):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 3)) * [1, 1, 100]
    rows[:100, 0] += 12
    fc.run(rows, tmp_path, steps=["clusters", "graph"], n_clusters=2, metric="mahalanobis")
    labels = load_array(tmp_path / "labels.npy")
    # In the raw metric the long third axis would decide.
    assert (len(set(labels[:100])), len(set(labels[100:]))) == (1, 1)
    assert labels[0] != labels[150]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"n_clusters": 401}, "n_clusters"),
        ({"n_clusters": 0}, "n_clusters"),
        ({"n_neighbors": 400}, "n_neighbors"),
        ({"perplexity": float("nan")}, "perplexity"),
        ({"metric": "manhattan"}, "metric"),
        ({"steps": ["dance"]}, "steps"),
        ({"labels": np.zeros(3, int)}, "labels"),
    ],
)
def test_bad_parameters_fail_before_any_work(images, tmp_path, params, field):
    with pytest.raises(InputError) as caught:
        fc.run(images[0], tmp_path / "out", **{**QUICK, **params})
    assert caught.value.field == field
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_number_of_clusters_in_words_is_refused(images, tmp_path):
    with pytest.raises(InputTypeError, match="n_clusters"):
        fc.run(images[0], tmp_path, n_clusters="many")


def test_an_unknown_parameter_is_named(images, tmp_path):
    with pytest.raises(InputTypeError, match="n_cluster'"):
        fc.run(images[0], tmp_path, n_cluster=3)


@pytest.mark.parametrize("given", [np.arange(3), "id,label\nnobody,shoe\n"])
def test_bad_labels_to_train_on_fail_before_any_work(tmp_path, given):
    rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    if isinstance(given, str):
        (tmp_path / "labels.csv").write_text(given)
        given = tmp_path / "labels.csv"
    heard = []
    with listening(heard.append), pytest.raises(ValueError, match=r"train_labels: got 3|the id 'nobody'"):
        fc.run(rows, tmp_path / "run", n_clusters=2, n_neighbors=5, train_labels=given)
    assert not heard
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_named(tmp_path, bad):
    rows = np.zeros((20, 3), np.float32)
    rows[7, 2] = bad
    with pytest.raises(InputError, match=r"row 7, column 2"):
        fc.run(rows, tmp_path, n_clusters=2, perplexity=3)


def test_two_runs_never_share_a_folder(images, tmp_path):
    with RunFolder(tmp_path).locked(), pytest.raises(PreconditionError, match="another run"):
        fc.run(images[0], tmp_path, **QUICK)


def test_a_broken_record_means_starting_anew(images, tmp_path):
    tmp_path.joinpath("run.json").write_text("{")
    fc.run(images[0], tmp_path, steps=["features"], **QUICK)
    assert json.loads((tmp_path / "run.json").read_text())["steps"]


def test_parts_of_a_step_do_not_move_it_to_its_end(finished):
    """Learning mines a graph, which tells its own progress to the end."""
    learning = [progress.fraction for progress in finished[1] if progress.step == "teach"]
    assert sum(0 < fraction < 0.95 for fraction in learning) > len(learning) / 4
