"""The rows of the current results in README.md, between two marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import tables
from bench.model import OURS

__all__ = ["BEGIN", "END", "README", "refresh", "section", "with_section"]

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN = "<!-- written by `python -m bench report`: begin -->"
END = "<!-- written by `python -m bench report`: end -->"


def refresh(records: list[dict[str, Any]], path: Path = README) -> Path:
    """Write the rows of the records into the file."""
    path.write_text(with_section(path.read_text("utf-8"), section(records)), encoding="utf-8")
    return path


def with_section(text: str, rows: str) -> str:
    """Return the text with the rows between the marks. Raises ValueError where the marks are missing."""
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"README.md lacks the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{rows}{END}{after}"


def section(records: list[dict[str, Any]]) -> str:
    """One table a case, of its full sizes where they were run, else of its small ones; one row a problem."""
    found = tables.groups([record for record in records if "curve" not in record])
    parts = []
    for (case, size), chosen in found.items():
        if size == "small" and (case, "full") in found:
            continue
        rows = "".join(_row(problem, chosen) for problem in dict.fromkeys(record["problem"] for record in chosen))
        parts.append(
            f"\n**{case}** ({size}): {tables.caption(chosen)}\n\n"
            f"| problem | ours, s | times as long | of ceiling |\n|---|---|---|---|\n{rows}"
        )
    return "".join(parts) + "\n" if parts else "\nNothing was measured yet.\n\n"


def _row(problem: str, records: list[dict[str, Any]]) -> str:
    mine = [record for record in records if record["problem"] == problem]
    ours = next((record for record in mine if record["contender"] == OURS), {"status": "absent", "gate": ""})
    time = f"{ours['median']:.3g}" if "median" in ours else f"**{ours['status']}**"
    shares = ", ".join(f"{100 * item['share']:.0f} % {name}" for name, item in ours.get("ceilings", {}).items())
    peers = ", ".join(_peer(record) for record in mine if record["contender"] != OURS)
    return f"| {problem} | {time} | {tables.cell(peers)} | {shares} |\n"


def _peer(record: dict[str, Any]) -> str:
    if "times_ours" not in record:
        return f"{record['contender']} {'not timed' if record['status'] == 'passed' else record['status']}"
    ratio = record["times_ours"]["median"]
    said = f"{record['contender']} {ratio:.3g}"
    # Where somebody is quicker than we are, it is to be seen.
    return said if ratio >= 1 else f"**{said}**"
