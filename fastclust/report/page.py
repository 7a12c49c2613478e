"""Writes ``report.html``: one file that opens from disk and asks no network for anything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.artifacts import load_array, load_json, replacing
from fastclust.errors import NotFoundError
from fastclust.report.raster import write_map_png

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = ["write_report"]


def write_report(run: str | os.PathLike[str]) -> Path:
    """Write ``report.html`` and ``map.png`` into a run folder; returns the page's path.

    Reads ``map.npy``, ``labels.npy``, ``run.json`` and, where they are, ``ids.parquet``, ``map.parquet``,
    ``quality.json``, ``insight.json`` and the thumbnails. Raises NotFoundError without the first three.
    """
    folder = Path(run)
    about = load_json(folder / "run.json")
    points = load_array(folder / "map.npy")
    labels = load_array(folder / "labels.npy")
    note = f"{len(labels):,} {'images' if about['kind'] == 'images' else 'rows'} in {int(labels.max()) + 1} clusters"
    write_map_png(folder / "map.png", points, labels, title=about["title"], note=note)
    data = _data(folder, about, points, labels)
    page = _page(about["title"], note, data)
    target = folder / "report.html"
    with replacing(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def _data(folder: Path, about: dict[str, Any], points: NDArray[Any], labels: NDArray[Any]) -> dict[str, Any]:
    middle, span = (points.max(axis=0) + points.min(axis=0)) / 2, np.ptp(points, axis=0).max()
    placed = 1.9 * (points - middle) / max(float(span), 1e-12)
    table = _columns(folder / "map.parquet")
    names = _columns(folder / "ids.parquet")
    known = names.get("label")
    return {
        "n": len(labels),
        "kind": about["kind"],
        "ids": names.get("id", [str(row) for row in range(len(labels))]),
        "x": _encode(placed[:, 0], "<f4"),
        "y": _encode(placed[:, 1], "<f4"),
        "cluster": _encode(labels, "<i4"),
        "label": None if known is None else _encode(np.asarray(known), "<i4"),
        "label_names": _label_names(known, names.get("label_name")),
        "distance": _encode(np.asarray(table["distance"]), "<f4") if "distance" in table else None,
        "p": _encode(np.asarray(table["outlier_p"]), "<f4") if "outlier_p" in table else None,
        "quality": _optional(folder / "quality.json"),
        "insight": _optional(folder / "insight.json"),
        "thumbnails": _thumbnails(folder),
        "params": about["params"],
        "notes": _notes(about["steps"]),
        "steps": [{name: step[name] for name in ("name", "seconds", "reused")} for step in about["steps"]],
    }


def _columns(path: Path) -> dict[str, list[Any]]:
    if not path.is_file():
        return {}
    import pyarrow.parquet as pq

    return {str(name): column for name, column in pq.read_table(path).to_pydict().items()}


def _label_names(labels: list[int] | None, names: list[str | None] | None) -> list[str] | None:
    if labels is None or names is None:
        return None
    found = {label: name for label, name in zip(labels, names, strict=True) if name is not None}
    return [found.get(label, str(label)) for label in range(max(found, default=-1) + 1)]


def _optional(path: Path) -> dict[str, Any] | None:
    try:
        return load_json(path)
    except NotFoundError:
        return None


def _notes(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """What the steps noted, named by step where two have the same name for something."""
    notes = {}
    for step in steps:
        for name, value in step.get("notes", {}).items():
            if value not in (None, [], {}):
                notes[f"{step['name']}: {name}"] = value
    return notes


def _thumbnails(folder: Path) -> dict[str, Any] | None:
    about = _optional(folder / "thumbnails.json")
    if about is None:
        return None
    urls = []
    for name in about["files"]:
        encoded = base64.b64encode((folder / name).read_bytes()).decode("ascii")
        urls.append(f"data:image/jpeg;base64,{encoded}")
    return {**about, "urls": urls}


def _encode(values: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")


def _page(title: str, note: str, data: dict[str, Any]) -> str:
    static = resources.files("fastclust.report") / "static"
    script = (static / "page.js").read_text("utf-8").replace("</script", "<\\/script")
    style = (static / "page.css").read_text("utf-8")
    template = (static / "page.html").read_text("utf-8")
    # "<" never stands in the JSON, so no id or title can end the element that holds it.
    packed = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "@CSP@": html.escape(_policy(script)),
        "@TITLE@": html.escape(title),
        "@NOTE@": html.escape(note),
        "@STYLE@": style,
        "@DATA@": packed,
        "@SCRIPT@": script,
    }
    out = []
    rest = template
    # Each mark once, in order, so that what was put in is never searched.
    for mark in ("@CSP@", "@TITLE@", "@STYLE@", "@TITLE@", "@NOTE@", "@DATA@", "@SCRIPT@"):
        before, _, rest = rest.partition(mark)
        out += [before, parts[mark]]
    return "".join([*out, rest])


def _policy(script: str) -> str:
    """Content security policy: this script and no other, images from the page itself, and no connection at all.

    'unsafe-eval' is for the WebGL library, which compiles its draw calls.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}' 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
