"""Two runs beside each other."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastclust.artifacts import load_array, load_json, save_array, save_json
from fastclust.errors import InputError, NotFoundError
from fastclust.report import compare_runs, write_comparison, write_map_png
from tests.report.runs import EVIL, read_run


@pytest.fixture
def two(run_folder, tmp_path):
    """A run, and one like it where 20 rows of cluster 3 went to 8 and one parameter is another."""
    folders = [shutil.copytree(run_folder, tmp_path / name) for name in ("first", "second")]
    clusters = load_array(folders[1] / "labels.npy").copy()
    clusters[np.flatnonzero(clusters == 3)[:12]] = 8
    save_array(folders[1] / "labels.npy", clusters)
    about = load_json(folders[1] / "run.json")
    about["params"]["n_clusters"] = 11
    about["steps"].append({"name": "learn", "seconds": 1.0, "reused": False, "notes": {"fine_tuned_with": 40}})
    save_json(folders[1] / "run.json", about)
    quality = load_json(folders[1] / "quality.json")
    quality["rows"][-1]["nmi"] = 0.93
    save_json(folders[1] / "quality.json", quality)
    return folders


def test_what_differs_is_told_and_nothing_else(two):
    found = compare_runs(*two)
    assert found.n_rows == 300
    assert found.measures["nmi"] == (0.88, 0.93)
    assert found.measures["accuracy"] == (0.89, 0.89)
    assert found.params == {"n_clusters": (10, 11), "labels trained on": (0, 40)}
    assert found.moves == [(3, 8, 12)]
    assert found.n_clusters == (10, 10)
    assert 0.5 < found.agreement < 1
    assert compare_runs(two[0], two[0]).agreement == 1


def test_labels_score_both_runs_anew(two):
    from sklearn.metrics import normalized_mutual_info_score

    rng = np.random.default_rng(0)
    truth = read_run(two[0]).labels
    for folder in two:
        save_array(folder / "embedding.npy", rng.normal(size=(300, 4)).astype(np.float32))
    known = np.where(np.arange(300) % 3, truth, -1)
    found = compare_runs(*two, labels=known)
    for place, folder in enumerate(two):
        clusters = load_array(folder / "labels.npy")
        expected = normalized_mutual_info_score(truth[known >= 0], clusters[known >= 0])
        assert found.measures["nmi"][place] == pytest.approx(expected)


def test_runs_of_other_rows_are_refused(two):
    table = pq.read_table(two[1] / "ids.parquet")
    ids = pa.array([f"other-{row}" for row in range(len(table))])
    pq.write_table(table.set_column(0, "id", ids), two[1] / "ids.parquet")
    with pytest.raises(InputError, match="other rows"):
        compare_runs(*two)


def test_a_folder_without_a_run_says_what_to_do(two, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError):
        compare_runs(two[0], tmp_path / "empty")
    (two[1] / "labels.npy").unlink()
    with pytest.raises(NotFoundError, match="fastclust run"):
        compare_runs(*two)


def test_the_page_is_self_contained_and_what_users_named_stays_text(two, tmp_path):
    named = two[1].rename(tmp_path / EVIL.replace("/", "|")[:80])
    for folder in (two[0], named):
        write_map_png(folder / "map.png", load_array(folder / "map.npy"), load_array(folder / "labels.npy"))
    write_comparison(two[0], named, tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page.replace("http-equiv", "")
    assert "<img src=x" not in page
    assert "+0.050" in page
