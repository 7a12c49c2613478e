"""Results as JSON lines, as a markdown table and as plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "load", "markdown", "save"]

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


def markdown(records: list[dict[str, Any]]) -> str:
    """Tables for people: one a case and size, one row a problem and contender; then the targets."""
    parts = []
    for case, size in dict.fromkeys((record["case"], record["size"]) for record in records):
        chosen = [record for record in records if (record["case"], record["size"]) == (case, size)]
        first = chosen[0]
        machine = first["machine"]
        # Problems may have been run again one by one.
        when = ", ".join(sorted({f"{record['date']} (commit {record['machine']['commit']})" for record in chosen}))
        parts.append(
            f"### {case} ({size})\n\n`{first['command']}`, {when}, "
            f"{machine['cpu']}, {machine['threads']} threads{_tuned(machine)}.\n\n"
            "| problem | contender | gate | median s (least-most) | times ours | of ceiling | peak MB |\n"
            "|---|---|---|---|---|---|---|\n" + "".join(_row(record) for record in chosen)
        )
        targets = [(record["problem"], target) for record in chosen for target in record.get("targets", [])]
        if targets:
            parts.append("| target | came | wanted | |\n|---|---|---|---|\n" + "".join(_target(*t) for t in targets))
    return "\n".join(parts)


def _tuned(machine: dict[str, Any]) -> str:
    """Variables that change what the BLAS of all contenders and ceilings does."""
    return "".join(f", **{name}={value}**" for name, value in machine.get("tuning", {}).items())


def _row(record: dict[str, Any]) -> str:
    name = record["contender"] + (f" ({record['remark']})" if record["remark"] else "")
    time, ratio, share, memory = "", "", "", ""
    if "median" in record:
        time = f"{record['median']:.4g} ({record['least']:.4g}-{record['most']:.4g})"
        memory = f"{record['peak_memory_bytes'] / 1e6:.0f}"
    if "times_ours" in record:
        spread = record["times_ours"]
        ratio = f"{spread['median']:.2f} ({spread['least']:.2f}-{spread['most']:.2f})"
    if "ceilings" in record:
        share = ", ".join(f"{100 * item['share']:.0f} % {key}" for key, item in record["ceilings"].items())
    gate = record["gate"] if record["status"] == "passed" else f"**{record['status']}**: {record['gate']}"
    return f"| {record['problem']} | {name} | {gate} | {time} | {ratio} | {share} | {memory} |\n"


def _target(problem: str, target: dict[str, Any]) -> str:
    sign = "<=" if target["at_most"] else ">="
    came = "not measured" if target["came"] is None else f"{target['came']:.4g}"
    verdict = {True: "met", False: "**missed**", None: "not measured"}[target["met"]]
    return f"| {problem}: {target['what']} | {came} | {sign} {target['target']:.4g} | {verdict} |\n"
