"""A page with a million points: it opens, draws a part while it moves, and all of them when it is still."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fastclust.artifacts import save_array, save_json
from fastclust.report import write_report

N = 1_000_000
#: Keeps when how many points were drawn.
WATCH = """window.draws = [];
for (const kind of [window.WebGLRenderingContext, window.WebGL2RenderingContext]) {
  if (!kind) continue;
  for (const [name, place] of [["drawArrays", 2], ["drawElements", 1]]) {
    kind.prototype[name] = new Proxy(kind.prototype[name], {
      apply(draw, context, given) {
        if (given[0] === 0) window.draws.push([performance.now(), given[place]]);
        return draw.apply(context, given);
      },
    });
  }
}"""


def write_million(folder):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 50, N).astype(np.int32)
    points = (rng.normal(scale=20, size=(50, 2))[labels] + rng.normal(size=(N, 2))).astype(np.float32)
    save_array(folder / "map.npy", points)
    save_array(folder / "labels.npy", labels)
    about = {"title": "a million", "kind": "vectors", "params": {}, "steps": [], "machine": {}, "created": "2026-11-01"}
    save_json(folder / "run.json", about)
    return write_report(folder)


@pytest.mark.full
def test_a_million_points_are_drawn_within_ten_seconds_and_a_part_while_moving(browser, tmp_path):
    path = write_million(tmp_path)
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.add_init_script(WATCH)
    begun = time.perf_counter()
    page.goto(f"file://{path}")
    page.wait_for_function(
        f"document.documentElement.dataset.ready === 'true' && draws.some((d) => d[1] >= {N})", timeout=60_000
    )
    opened = time.perf_counter() - begun

    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_timeout(1500)
    start = page.evaluate("performance.now()")
    for _ in range(40):
        page.mouse.wheel(0, -30)
        page.wait_for_timeout(60)
    end = page.evaluate("performance.now()")
    moving = [d for d in page.evaluate("draws") if start < d[0] < end]
    page.wait_for_function(f"draws.at(-1)[0] > {end} && draws.at(-1)[1] >= {N}", timeout=20_000)

    parts = [d for d in moving if d[1] <= 100_000]
    frames = np.diff([d[0] for d in parts])
    size = path.stat().st_size / 1e6
    print(f"page of {size:.1f} MB opened in {opened:.2f} s; {len(moving)} frames while moving, {len(parts)} of a part:")
    print(f"median {np.median(frames):.0f} ms, 90th percentile {np.quantile(frames, 0.9):.0f} ms")
    assert problems == []
    assert opened < 10
    # The first frames may still show all.
    assert len(parts) >= 0.8 * len(moving)
    assert np.median(frames) < 300
    page.close()
