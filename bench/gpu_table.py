"""A markdown table of what ``gpu.sh`` left: ``python -m bench.gpu_table FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["markdown"]


def markdown(rows: list[dict[str, Any]]) -> str:
    """Passes, ceilings and times, in the order in which they came."""
    first = rows[0] if rows else {}
    head = " ".join(str(first.get(name, "")) for name in ("device", "architecture", "date"))
    lines = [
        f"# {head}, torch {first.get('torch', '')}",
        "",
        "| operation | backend | oracle | error |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if "passed" in row:
            verdict = "passed" if row["passed"] else "**WRONG**"
            lines.append(f"| {row['operation']} | {row['backend']} | {verdict} | {row['error']} |")
    lines += ["", "| what | size | backend | median ms | spread | T/s | certified |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        if "what" not in row:
            continue
        size = " ".join(f"{name}={row[name]}" for name in ("n", "d", "k", "dtype", "iterations") if name in row)
        start = f"| {row['what']} | {size} | {row.get('backend', '')} |"
        if "absent" in row:
            lines.append(f"{start} absent: {row['absent']} | | | |".replace("\n", " "))
            continue
        median = 1e3 * row.get("median", row.get("seconds", 0.0))
        spread = f"{1e3 * row['least']:.3g}-{1e3 * row['most']:.3g}" if "least" in row else ""
        rate = row.get("flops", row.get("bytes_a_second"))
        certified = f"{row['certified']:.4f}" if "certified" in row else ""
        lines.append(
            f"{start} {median:.4g} | {spread} | {'' if rate is None else f'{rate / 1e12:.4g}'} | {certified} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write ``table.md`` beside the lines."""
    folder = Path(sys.argv[1])
    rows = [
        json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()
    ]
    (folder / "table.md").write_text(markdown(rows), "utf-8")
    print(f"{folder / 'table.md'}: {len(rows)} lines")


if __name__ == "__main__":
    main()
