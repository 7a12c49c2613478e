"""The page of a run over Fashion-MNIST's 70,000 images, from disk: all points, their images, montages and a lasso."""

from __future__ import annotations

import csv
from io import BytesIO

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.spatial import cKDTree

import fastclust as fc
from fastclust.data.builtin import FASHION_FOLDER
from tests.report.test_million_points import WATCH
from tests.report.test_page_in_browser import opened, pixels_of, place_of, rows_in

N = 70_000
#: Round corners and their edge are no part of an image.
INNER = (slice(3, -3), slice(3, -3))
PLACES = f"[...Array({N}).keys()].map((row) => window.fastclust.position(row))"


@pytest.fixture(scope="module")
def images():
    if not FASHION_FOLDER.is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    return fc.open_images("fashion-mnist").read()[..., 0]


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """The run without learning: the page is the same, and a quarter of an hour is not spent."""
    out = tmp_path_factory.mktemp("fashion") / "run"
    fc.run("fashion-mnist", out, n_clusters=10, map_max_iter=400, steps=["report"])
    return out


@pytest.fixture(scope="module")
def page(browser, folder):
    found = opened(browser, folder / "report.html", before=WATCH)
    found.wait_for_function(f"draws.some((drawn) => drawn[1] >= {N})", timeout=60_000)
    yield found
    assert found.problems == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in found.requests), found.requests
    found.close()


@pytest.fixture(scope="module")
def alone(page):
    """Rows that stand apart on the screen, so that a pointer means them and no other."""
    places = np.array(page.evaluate(PLACES))
    return np.argsort(-cKDTree(places).query(places, 2)[0][:, 1])[:6]


def shown(page, selector):
    """The picture at ``selector`` in 28 x 28; a screenshot begins and ends at whole pixels, so that it shows more."""
    page.wait_for_selector(f"{selector}[data-painted]")
    one = page.locator(selector).first
    shot = Image.open(BytesIO(one.screenshot())).convert("L")
    place = one.bounding_box()
    left, top = place["x"] % 1, place["y"] % 1
    inside = (left, top, min(left + place["width"], shot.width), min(top + place["height"], shot.height))
    return np.asarray(shot.resize((28, 28), Image.Resampling.BOX, inside), float)


def assert_is(seen, images, row):
    """What was seen within its round corners is the image of ``row``, and no other of a thousand is as like it."""
    others = np.random.default_rng(0).choice(N, 1000, replace=False)
    seen, known = seen[INNER].ravel(), images[(slice(None), *INNER)].reshape(N, -1)
    likeness = [np.corrcoef(seen, known[other])[0, 1] for other in (row, *others[others != row])]
    assert likeness[0] > 0.85
    assert likeness[0] >= max(likeness)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_hover_shows_the_right_image_of_seventy_thousand(page, alone, images):
    for row in alone[:3]:
        page.mouse.move(*place_of(page, row))
        page.wait_for_selector(f"#tip[data-row='{row}']:not([hidden])")
        assert_is(shown(page, "#tip .thumb"), images, row)


@pytest.mark.full
def test_a_click_shows_the_montage_of_its_cluster(page, alone, images, folder):
    table = pq.read_table(folder / "map.parquet").to_pydict()
    clusters, distance = np.array(table["cluster"]), np.array(table["distance"], np.float32)
    row = int(alone[3])
    page.mouse.click(*place_of(page, row))
    page.wait_for_selector(f"#card[data-row='{row}']")
    assert_is(shown(page, "#card .thumb"), images, row)
    own = np.flatnonzero(clusters == clusters[row])
    by_distance = own[np.lexsort((own, distance[own]))]
    assert rows_in(page, "#nearest") == by_distance[:24].tolist()
    assert rows_in(page, "#farthest") == by_distance[::-1][: len(rows_in(page, "#farthest"))].tolist()
    assert_is(shown(page, "#nearest .cell:nth-child(2) .thumb"), images, by_distance[1])


@pytest.mark.full
def test_a_lasso_exports_the_rows_inside(page, tmp_path):
    places = np.array(page.evaluate(PLACES)) + [page.locator("#map").bounding_box()[name] for name in ("x", "y")]
    (left, top), (right, bottom) = np.quantile(places, 0.4, axis=0), np.quantile(places, 0.55, axis=0)
    # What lies within a pixel of the line may be on either side.
    inside, near = (
        ((places > (left + step, top + step)) & (places < (right - step, bottom - step))).all(axis=1)
        for step in (1.5, -1.5)
    )
    page.click("#lasso")
    page.mouse.move(left, top)
    page.mouse.down()
    for corner in ((right, top), (right, bottom), (left, bottom), (left, top + 1)):
        page.mouse.move(*corner, steps=12)
        page.wait_for_timeout(60)
    page.mouse.up()
    page.wait_for_function("window.fastclust.selection().length > 0")
    with page.expect_download() as waiting:
        page.click("#export")
    waiting.value.save_as(tmp_path / "selection.csv")
    with (tmp_path / "selection.csv").open(newline="", encoding="utf-8") as file:
        found = {int(line["row"]) for line in csv.DictReader(file)}
    assert inside.sum() > 100
    assert set(np.flatnonzero(inside).tolist()) <= found <= set(np.flatnonzero(near).tolist())
    page.click("#clear")


@pytest.mark.full
def test_both_of_its_looks_are_drawn(page, tmp_path):
    page.screenshot(path=tmp_path / "light.png", full_page=True)
    light = pixels_of(page).mean()
    page.click("#theme")
    page.wait_for_timeout(500)
    page.screenshot(path=tmp_path / "dark.png", full_page=True)
    assert pixels_of(page).mean() < 100 < light
