"""Results as JSON lines, and all that is made of them: tables, plots, targets, the rows in README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import plots, readme, tables, targets

__all__ = ["RESULTS", "load", "page", "save", "write"]

RESULTS = Path(__file__).resolve().parent / "results"


def save(records: list[dict[str, Any]], case: str, size: str, *, some: bool = False) -> Path:
    """Write one JSON object a line; the file holds the newest run, of each problem for itself if ``some``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{case}.{size}.jsonl"
    again = {record["problem"] for record in records}
    before = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if some and path.exists() else []
    records = [record for record in before if record["problem"] not in again] + records
    path.write_text("".join(json.dumps(record, sort_keys=True) + "\n" for record in records), encoding="utf-8")
    return path


def load(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Read all results, ordered by case."""
    return [
        json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()
    ]


def page(records: list[dict[str, Any]]) -> str:
    """Return the text of tables.md."""
    return (
        "# Tables\n\nWritten by `python -m bench report` from the `.jsonl` files beside this one.\n\n"
        f"## Targets\n\n{targets.markdown(records)}\n"
        f"## Measured\n\n{tables.markdown(records)}"
    )


def write() -> list[Path]:
    """Write tables.md, the plots and the section of README.md from the stored results; returns what was written."""
    records = load()
    path = RESULTS / "tables.md"
    path.write_text(page(records), encoding="utf-8")
    return [path, *plots.draw(records, RESULTS), readme.refresh(records)]
