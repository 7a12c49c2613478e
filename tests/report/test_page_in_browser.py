"""The page in a headless Chromium, from disk."""

from __future__ import annotations

import csv
import shutil
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fastclust.artifacts import save_json
from fastclust.report import write_report
from tests.report.runs import EVIL, read_run, write_run


@pytest.fixture(scope="module")
def path(run_folder, tmp_path_factory):
    return write_report(shutil.copytree(run_folder, tmp_path_factory.mktemp("page") / "run"))


@pytest.fixture(scope="module")
def run(run_folder):
    return read_run(run_folder)


def opened(browser, path, before="", **context):
    """A page that keeps what went wrong and what was asked for; the script ``before`` runs before its own."""
    page = browser.new_page(**{"viewport": {"width": 1200, "height": 800}, "color_scheme": "light", **context})
    page.problems, page.requests = [], []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: page.requests.append(request.url))
    page.add_init_script(before)
    page.goto(f"file://{path}")
    page.wait_for_function("document.documentElement.dataset.ready === 'true'")
    return page


@pytest.fixture
def page(browser, path):
    found = opened(browser, path)
    yield found
    assert found.problems == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in found.requests), found.requests
    found.close()


@pytest.fixture(scope="module")
def still(browser, path):
    """One page for the tests that leave nothing behind on it."""
    found = opened(browser, path)
    yield found
    assert found.problems == []
    found.close()


def place_of(page, row):
    box = page.locator("#map").bounding_box()
    x, y = page.evaluate(f"window.fastclust.position({row})")
    return box["x"] + x, box["y"] + y


def rows_in(page, selector):
    return page.evaluate(f"[...document.querySelectorAll('{selector} .cell')].map((cell) => +cell.dataset.row)")


def assert_shows(page, selector, images, row):
    """The canvas at ``selector`` shows the image of ``row`` and not some other."""
    page.wait_for_selector(f"{selector}[data-painted]")
    shot = Image.open(BytesIO(page.locator(selector).first.screenshot())).convert("L")
    shown = np.asarray(shot.resize((8, 8), Image.Resampling.BOX), float).ravel()
    # Small and with round corners, but nearer to its own image than to nearly all others.
    likeness = [np.corrcoef(shown, image.ravel())[0, 1] for image in images]
    assert likeness[row] > 0.85
    assert sorted(likeness)[-3] <= likeness[row]


def pixels_of(page, selector="#map"):
    return np.asarray(Image.open(BytesIO(page.locator(selector).screenshot())).convert("RGB"))


def test_it_asks_no_network_for_anything(page):
    assert page.requests == [page.url]


def test_nothing_that_a_user_named_runs_or_becomes_markup(still):
    page = still
    assert page.evaluate("document.title").split() == f"digits {EVIL}".split()
    assert page.locator("img").count() == 0
    page.fill("#query", "</script>")
    page.keyboard.press("Enter")
    assert page.locator("#card h3").text_content() == EVIL
    assert page.evaluate("document.querySelector('#card h3').children.length") == 0


def test_the_map_is_drawn_in_the_colours_of_the_legend(page):
    page.uncheck("#named")
    page.wait_for_timeout(200)
    seen = pixels_of(page).reshape(-1, 3).astype(int)
    swatches = page.evaluate("[...document.querySelectorAll('#legend .swatch')].map((s) => s.style.backgroundColor)")
    assert len(swatches) == 10
    for text in swatches:
        color = np.array([int(part) for part in text[4:-1].split(",")])
        drawn = 0.88 * color + 0.12 * 255
        assert (np.abs(seen - drawn).max(axis=1) < 6).sum() > 50, text


@pytest.mark.parametrize("row", [0, 141, 299])
def test_hover_shows_the_right_image(page, run, row):
    page.mouse.move(*place_of(page, row))
    page.wait_for_selector(f"#tip[data-row='{row}']:not([hidden])")
    assert_shows(page, "#tip .thumb", run.images, row)
    words = page.locator("#tip").inner_text()
    for part in (run.ids[row], f"Cluster {run.clusters[row]}", f"digit {run.labels[row]}"):
        assert part in words
    page.mouse.move(*[end - 2 for end in place_of(page, row)][:1], 790)
    page.wait_for_selector("#tip", state="hidden")


def test_a_click_opens_the_row_and_the_montage_of_its_cluster(page, run):
    row = 142
    cluster = run.clusters[row]
    page.mouse.click(*place_of(page, row))
    page.wait_for_selector(f"#card[data-row='{row}']")
    assert_shows(page, "#card .thumb", run.images, row)
    own = np.flatnonzero(run.clusters == cluster)
    by_distance = own[np.lexsort((own, run.distance[own]))].tolist()
    nearest, farthest = rows_in(page, "#nearest"), rows_in(page, "#farthest")
    assert nearest == by_distance[:24]
    assert farthest == by_distance[24:][::-1]
    assert rows_in(page, "#neighbours") == [(row + step) % run.n for step in range(1, 9)]
    assert_shows(page, "#nearest .cell:nth-child(2) .thumb", run.images, nearest[1])
    # From a picture on to its row.
    page.click("#nearest .cell:nth-child(2)")
    assert page.locator("#card").get_attribute("data-row") == str(nearest[1])


def test_a_legend_entry_opens_its_cluster_and_colours_can_be_changed(page, run):
    page.locator(".entry").nth(3).click()
    assert page.locator("#detail h3 .soft").inner_text() == f"{(run.clusters == 3).sum()} images"
    assert set(rows_in(page, "#nearest")) <= set(np.flatnonzero(run.clusters == 3).tolist())
    page.select_option("#coloring", "label")
    page.wait_for_function("document.querySelectorAll('.entry .name')[4].textContent.startsWith('digit 4')")
    page.locator(".entry").nth(4).click()
    assert set(rows_in(page, "#nearest")) <= set(np.flatnonzero(run.labels == 4).tolist())
    for key in ("p", "distance", "density"):
        before = pixels_of(page)
        page.select_option("#coloring", key)
        page.wait_for_selector("#scale")
        page.wait_for_timeout(150)
        assert (pixels_of(page) != before).mean() > 0.003, key


def test_a_legend_entry_makes_the_others_pale(page):
    def strength(cluster):
        rows = page.evaluate(
            f"[...window.fastclust.data.cluster.keys()].filter((r) => window.fastclust.data.cluster[r] === {cluster})"
        )
        box, seen = page.locator("#map").bounding_box(), pixels_of(page).astype(int)
        places = [np.subtract(place_of(page, row), (box["x"], box["y"])).round().astype(int) for row in rows[:8]]
        return np.mean([255 - seen[y, x].min() for x, y in places])

    page.uncheck("#named")
    page.mouse.move(5, 5)
    before = strength(1), strength(6)
    page.locator(".entry").nth(1).hover()
    page.wait_for_timeout(250)
    during = strength(1), strength(6)
    assert during[0] > 0.9 * before[0]
    assert during[1] < 0.6 * before[1]


def test_a_lasso_exports_exactly_the_rows_inside(page, run, tmp_path):
    spots = np.array([place_of(page, row) for row in range(run.n)])
    left, top = spots[run.clusters == 5].min(axis=0) - 6
    right, bottom = spots[run.clusters == 5].max(axis=0) + 6
    wanted = np.flatnonzero(((spots > (left, top)) & (spots < (right, bottom))).all(axis=1))
    page.click("#lasso")
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top + 1)]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=3)
        page.wait_for_timeout(20)
    page.mouse.up()
    page.wait_for_function("window.fastclust.selection().length > 0")
    assert page.locator("#chosen").inner_text() == f"{len(wanted)} selected"
    assert rows_in(page, "#chosen-rows") == wanted.tolist()[:48]
    with page.expect_download() as waiting:
        page.click("#export")
    waiting.value.save_as(tmp_path / "selection.csv")
    with (tmp_path / "selection.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["id", "row", "cluster", "label"]
    assert lines[1:] == [[run.ids[r], str(r), str(run.clusters[r]), f"digit {run.labels[r]}"] for r in wanted]
    page.click("#clear")
    assert page.locator("#selection").is_hidden()


def test_what_is_exported_survives_commas_and_quotes(page, run, tmp_path):
    page.locator(".entry").nth(int(run.clusters[3])).click()
    page.get_by_role("button", name="Select all").click()
    with page.expect_download() as waiting:
        page.click("#export")
    waiting.value.save_as(tmp_path / "selection.csv")
    with (tmp_path / "selection.csv").open(newline="", encoding="utf-8") as file:
        assert EVIL in [line[0] for line in csv.reader(file)]


def labels_exported(page, path):
    with page.expect_download() as waiting:
        page.click("#export-labels")
    waiting.value.save_as(path)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_named_clusters_and_labelled_rows_are_exported(page, run, tmp_path):
    assert page.locator("#labelling").is_hidden()
    page.locator(".entry").nth(4).click()
    page.fill("#cluster-name", "ankle, boot")
    page.keyboard.press("Enter")
    assert page.locator(".entry .name").nth(4).inner_text().startswith("ankle, boot")
    own = np.flatnonzero(run.clusters == 4)
    inner = own[np.lexsort((own, run.distance[own]))][: -(-len(own) // 2)]
    inside, outside = int(inner[0]), int(np.flatnonzero(run.clusters == 2)[0])
    for row, label in ((inside, "bag"), (outside, "coat")):
        page.fill("#query", str(row))
        page.keyboard.press("Enter")
        page.fill("#row-label", label)
        page.keyboard.press("Enter")
    assert page.locator("#labelled").inner_text() == "1 cluster named, 2 images labelled"
    expected = dict.fromkeys(inner.tolist(), "ankle, boot") | {inside: "bag", outside: "coat"}
    lines = labels_exported(page, tmp_path / "labels.csv")
    assert lines == [["id", "label"], *([run.ids[row], expected[row]] for row in sorted(expected))]
    # They are there again when the page is opened again, and what is cleared is gone.
    page.reload()
    page.wait_for_function("document.documentElement.dataset.ready === 'true'")
    assert labels_exported(page, tmp_path / "again.csv") == lines
    page.click("#clear-labels")
    assert page.locator("#labelling").is_hidden()
    page.requests[:] = [url for url in page.requests if url != page.url]


def test_a_selection_is_labelled_at_once(page, run, tmp_path):
    page.locator(".entry").nth(3).click()
    page.get_by_role("button", name="Select all").click()
    page.fill("#rows-label", "three")
    page.keyboard.press("Enter")
    lines = labels_exported(page, tmp_path / "labels.csv")
    assert lines[1:] == [[run.ids[row], "three"] for row in np.flatnonzero(run.clusters == 3)]


def test_the_curve_of_k_and_spread_labels_are_shown(browser, run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    curve = [{"k": k, "silhouette": s, "stability": 0.9, "calinski_harabasz": 10.0, "inertia": 5.0} for k, s in
             ((2, 0.1), (3, 0.4), (10, 0.7), (24, -0.1))]  # fmt: skip
    save_json(folder / "choice.json", {"k": 10, "curve": curve})
    table = pq.read_table(folder / "map.parquet")
    names = [None if row % 7 == 0 else "even" if row % 2 == 0 else "odd" for row in range(len(table))]
    pq.write_table(table.append_column("spread_label", pa.array(names)), folder / "map.parquet")
    page = opened(browser, write_report(folder))
    assert page.locator("#choice circle.silhouette").count() == 4
    assert page.locator("#curve .best th").text_content() == "10"
    page.select_option("#coloring", "spread")
    page.wait_for_function("document.querySelectorAll('.entry').length === 3")
    assert page.locator(".entry .name").nth(1).inner_text().startswith("even")
    assert page.locator(".entry .count").nth(1).inner_text() == str(names.count("even"))
    assert page.problems == []
    page.close()


def test_search_finds_ids_and_rows(still):
    page = still
    for text, row in (("scan-17", 17), ("299", 299), ("can-200", 200)):
        page.fill("#query", text)
        page.keyboard.press("Enter")
        assert page.locator("#card").get_attribute("data-row") == str(row)
    page.fill("#query", "no such row")
    page.keyboard.press("Enter")
    assert "no such row" in page.locator("#missing").inner_text()


def test_light_and_dark(page):
    look = "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    light, before = page.evaluate(look), pixels_of(page)
    page.click("#theme")
    page.wait_for_timeout(200)
    assert page.evaluate(look) != light
    assert page.locator("#theme").get_attribute("aria-pressed") == "true"
    assert before.mean() > 200
    assert pixels_of(page).mean() < 60  # the map too
    page.click("#theme")
    assert page.evaluate(look) == light


def test_the_systems_dark_is_taken(browser, path):
    page = opened(browser, path, color_scheme="dark")
    assert pixels_of(page).mean() < 60
    page.close()


def test_everything_can_be_reached_by_keyboard(page):
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"theme", "map", "move", "lasso", "reset", "named", "query", "coloring", "entry", "cell"} <= reached
    unnamed = """[...document.querySelectorAll('button, input, select, canvas[role]')].filter((element) =>
        !element.textContent.trim() && !element.getAttribute('aria-label') && !element.title && !element.labels?.length
        && !element.querySelector('[aria-label]')).length"""
    assert page.evaluate(unnamed) == 0


def test_arrow_keys_go_from_point_to_point(page, run):
    page.focus("#map")
    page.keyboard.press("ArrowRight")
    first = int(page.locator("#tip").get_attribute("data-row"))
    page.keyboard.press("ArrowRight")
    second = int(page.locator("#tip").get_attribute("data-row"))
    assert run.points[second][0] > run.points[first][0]
    page.keyboard.press("Enter")
    assert page.locator("#card").get_attribute("data-row") == str(second)


def test_sections_show_what_was_found(still):
    page = still
    assert "0.890" in page.locator("#measures tr:nth-child(2) .best").first.inner_text()
    assert rows_in(page, "#duplicates .group:nth-child(1)") == [1, 2, 3]
    assert rows_in(page, "#odd") == [7, 3]
    assert page.locator("#label-first .group").count() == 10
    assert "n_clusters" in page.locator("#parameters").inner_text()
    assert page.locator("#steps tr").count() == 3


def test_vectors_without_images_labels_and_extras_work_too(browser, tmp_path):
    page = opened(browser, write_report(write_run(tmp_path, images=False, labels=False, extras=False, n=80)))
    assert page.locator(".entry").count() == 10
    page.mouse.click(*place_of(page, 17))
    page.wait_for_selector("#card[data-row='17']")
    assert page.locator("canvas.thumb").count() == 0
    assert page.locator("#nearest .chip").first.inner_text().startswith("scan-")
    assert page.problems == []
    page.close()


def test_one_row_in_one_cluster_works_too(browser, tmp_path):
    page = opened(browser, write_report(write_run(tmp_path, n=1)))
    assert page.locator(".entry").count() == 1
    assert page.problems == []
    page.close()


NO_WEBGL = """HTMLCanvasElement.prototype.getContext = new Proxy(HTMLCanvasElement.prototype.getContext, {
  apply: (get, canvas, [kind, ...rest]) => (/webgl/.test(kind) ? null : get.call(canvas, kind, ...rest)),
})"""


def test_without_webgl_the_rest_goes_on_working(browser, path, run):
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(NO_WEBGL)
    page.goto(f"file://{path}")
    page.wait_for_function("document.documentElement.dataset.ready === 'true'")
    assert "WebGL" in page.locator("#problem").inner_text()
    page.locator(".entry").nth(2).click()
    assert set(rows_in(page, "#nearest")) <= set(np.flatnonzero(run.clusters == 2).tolist())
    context.close()


def test_a_narrow_screen_shows_the_whole_map(browser, path, run):
    page = opened(browser, path, viewport={"width": 390, "height": 844})
    spots = np.array([page.evaluate(f"window.fastclust.position({row})") for row in range(run.n)])
    assert spots.min() >= 0
    assert spots[:, 0].max() <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
