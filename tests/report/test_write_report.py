"""The files of a report, whatever is missing, and what may not be wrong."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fastclust.errors import DataError, NotFoundError
from fastclust.report import write_report
from tests.report.runs import EVIL, read_run, write_run


class Page(HTMLParser):
    """What a browser's parser would find: elements, and the text of title and scripts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.scripts, self.title, self._inside = [], {}, "", None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "title"):
            self._inside = (tag, dict(attrs).get("id", "page"))

    def handle_endtag(self, tag):
        if self._inside and tag == self._inside[0]:
            self._inside = None

    def handle_data(self, data):
        if self._inside and self._inside[0] == "title":
            self.title += data
        elif self._inside:
            self.scripts[self._inside[1]] = self.scripts.get(self._inside[1], "") + data


def parsed(folder):
    return Page(write_report(folder).read_text("utf-8"))


def data_of(folder):
    return json.loads(parsed(folder).scripts["data"])


@pytest.fixture(scope="module")
def page(run_folder):
    return parsed(run_folder)


def test_a_browsers_parser_finds_no_element_of_the_users(page):
    assert "img" not in [tag for tag, _ in page.elements]
    assert page.title == f"digits {EVIL}"
    data = json.loads(page.scripts["data"])
    assert data["ids"][3] == EVIL
    assert data["title"] == f"digits {EVIL}"


def test_no_element_and_no_style_loads_anything(page, run_folder):
    for tag, attributes in page.elements:
        assert tag not in ("iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "srcset", "action", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"connect-src|https?:|\*", policy)
    style = re.search(r"<style>(.*?)</style>", write_report(run_folder).read_text("utf-8"), re.DOTALL).group(1)
    assert not re.search(r"url\(|@import", style)


def test_the_time_of_the_report_step_is_not_in_it(page):
    steps = json.loads(page.scripts["data"])["run"]["steps"]
    assert [step["name"] for step in steps] == ["read", "clusters", "map"]


def test_numbers_arrive_as_they_were(page, run_folder):
    data, run = json.loads(page.scripts["data"]), read_run(run_folder)

    def read(text, dtype):
        return np.frombuffer(base64.b64decode(text), dtype)

    assert (read(data["label"], "<i4") == run.labels).all()
    assert (read(data["distance"], "<f4") == run.distance).all()
    near = read(data["neighbors"]["rows"], "<i4").reshape(run.n, -1)
    assert near[5, :3].tolist() == [6, 7, 8]
    placed = np.stack([read(data["x"], "<f4"), read(data["y"], "<f4")], axis=1)
    assert np.abs(placed).max() == pytest.approx(0.95, abs=1e-6)
    # One scale for both axes: distances keep their proportions.
    before = np.linalg.norm(run.points[1:] - run.points[0], axis=1)
    after = np.linalg.norm(placed[1:] - placed[0], axis=1)
    np.testing.assert_allclose(after / before, (after / before)[0], rtol=1e-4)


@pytest.mark.parametrize(
    "missing",
    ["ids.parquet", "map.parquet", "quality.json", "insight.json", "graph.safetensors", "thumbnails.json",
     "thumbnails-0.jpg"],
)  # fmt: skip
def test_one_optional_file_may_be_missing(run_folder, tmp_path, missing):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    (folder / missing).unlink()
    data = data_of(folder)
    assert data["ids"][3] == EVIL  # ids.parquet and map.parquet both have them
    assert (data["thumbnails"] is None) == missing.startswith("thumbnails")


@pytest.mark.parametrize("missing", ["run.json", "map.npy", "labels.npy"])
def test_a_file_that_must_be_there_is_named(run_folder, tmp_path, missing):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    (folder / missing).unlink()
    with pytest.raises(NotFoundError, match=re.escape(missing)):
        write_report(folder)


def test_files_of_different_runs_are_refused(run_folder, tmp_path):
    folder, run = shutil.copytree(run_folder, tmp_path / "run"), read_run(run_folder)
    np.save(folder / "map.npy", run.points[:-1])
    with pytest.raises(DataError, match=r"map\.npy"):
        write_report(folder)
    np.save(folder / "labels.npy", run.clusters[:-1])
    with pytest.raises(DataError, match=r"ids\.parquet"):
        write_report(folder)


def test_a_map_that_is_not_finite_is_refused(run_folder, tmp_path):
    folder, points = shutil.copytree(run_folder, tmp_path / "run"), read_run(run_folder).points.copy()
    points[5, 0] = np.nan
    np.save(folder / "map.npy", points)
    with pytest.raises(DataError, match="NaN"):
        write_report(folder)


def test_the_least_run_has_a_report(tmp_path):
    write_run(tmp_path, n=1, images=False, labels=False, extras=False)
    (tmp_path / "ids.parquet").unlink()
    (tmp_path / "run.json").write_text("{}")
    data = data_of(tmp_path)
    assert data["ids"] is None
    assert data["label"] is None
    assert data["title"] == tmp_path.name
    assert Image.open(tmp_path / "map.png").width == 1400


def test_rows_without_a_label_are_kept_apart(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_run(tmp_path, n=20, images=False, extras=False)
    names = {
        "id": [str(row) for row in range(20)],
        "label": [-1, None] + [1] * 18,
        "label_name": [None] * 2 + ["b"] * 18,
    }
    pq.write_table(pa.table(names), tmp_path / "ids.parquet")
    data = data_of(tmp_path)
    assert np.frombuffer(base64.b64decode(data["label"]), "<i4").tolist() == [-1, -1] + [1] * 18
    assert data["label_names"] == ["0", "b"]
