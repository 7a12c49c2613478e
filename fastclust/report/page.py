"""Writes ``report.html``: one file that opens from disk and asks no network for anything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from fastclust.artifacts import replacing
from fastclust.report.content import gather
from fastclust.report.raster import write_map_png

if TYPE_CHECKING:
    import os

    from fastclust.report.content import Content

__all__ = ["write_report"]


def write_report(run: str | os.PathLike[str]) -> Path:
    """Write ``report.html`` and ``map.png`` into a run folder; returns the page's path.

    Reads ``run.json``, ``map.npy`` and ``labels.npy`` and, where they are, ``ids.parquet``, ``map.parquet``,
    ``quality.json``, ``insight.json``, ``graph.safetensors`` and the thumbnails. The same files give the same bytes.

    Parameters
    ----------
    run
        The run folder.

    Raises
    ------
    NotFoundError
        One of the first three is missing.
    DataError
        A file cannot be read, or does not go with the others.
    """
    folder = Path(run)
    content = gather(folder)
    write_map_png(folder / "map.png", content.points, content.labels, title=content.title, note=content.note)
    target = folder / "report.html"
    with replacing(target) as temporary:
        # A title from a file name may hold what UTF-8 cannot say.
        temporary.write_text(_page(content), encoding="utf-8", errors="xmlcharrefreplace")
    return target


def _page(content: Content) -> str:
    static = resources.files("fastclust.report") / "static"
    script = (static / "page.js").read_text("utf-8").replace("</script", "<\\/script")
    # "<" never stands in the JSON, so no id or title can end the element that holds it.
    packed = json.dumps(content.data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    # Base64 has no "<" either. Each sheet is an element of its own, so that the page unpacks only what it shows.
    sheets = "\n".join(
        f'<script type="text/plain" id="sheet-{number}">{sheet}</script>' for number, sheet in enumerate(content.sheets)
    )
    parts = {
        "CSP": html.escape(_policy(script)),
        "TITLE": html.escape(content.title),
        "NOTE": html.escape(content.note),
        "STYLE": (static / "page.css").read_text("utf-8"),
        "DATA": packed,
        "SHEETS": sheets,
        "SCRIPT": script,
    }
    # Split first: what is put in is never searched for marks.
    pieces = (static / "page.html").read_text("utf-8").split("@@")
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))


def _policy(script: str) -> str:
    """Content security policy: this script and no other, images from the page itself, and no connection at all.

    'unsafe-eval' is for the WebGL library, which compiles its draw calls, and the worker for its index of many points.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}' 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )
