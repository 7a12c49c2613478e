"""All that the design promises in figures (``targets.toml``), and what came of it in the stored results."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import tables
from bench.model import OURS

__all__ = ["ALL", "Promise", "judge", "markdown"]


@dataclass(frozen=True)
class Promise:
    """One entry: ``case`` with ``what`` or ``gate``, or ``row`` with ``figure``, or ``test``, or ``why``.

    With ``verdict``, ``why`` is the figure that another command printed and the file that keeps it.
    """

    promise: str
    case: str = ""
    what: str = ""
    gate: str = ""
    test: str = ""
    why: str = ""
    verdict: str = ""
    #: A row of :data:`LEARNING`, whose mean over the seeds is to be at least a number or another row's.
    row: str = ""
    figure: str = ""
    least: float = 0.0
    over: str = ""


#: What ``python -m bench learning`` found.
LEARNING = Path(__file__).resolve().parent / "results" / "learning-2026-11-28.json"

ALL = [
    Promise(**entry)
    for entry in tomllib.loads((Path(__file__).resolve().parent / "targets.toml").read_text("utf-8"))["target"]
]


def judge(promise: Promise, records: list[dict[str, Any]]) -> tuple[str, str]:
    """Return "met", "missed", "held by a test" or "not measured", and by how much or why."""
    if promise.test:
        return "held by a test", promise.test
    if promise.why:
        return promise.verdict or "not measured", promise.why
    if promise.row:
        return _by_row(promise, json.loads(LEARNING.read_text("utf-8")))
    mine = [
        record
        for record in records
        if record["case"] == promise.case and record["contender"] == OURS and "curve" not in record
    ]
    # What was run at full size is what counts.
    size = "full" if any(record["size"] == "full" for record in mine) else "small"
    mine = [record for record in mine if record["size"] == size]
    return _by_gate(promise, mine, size) if promise.gate else _by_target(promise, mine, size)


def _by_gate(promise: Promise, records: list[dict[str, Any]], size: str) -> tuple[str, str]:
    asked = [record for record in records if promise.gate in record["problem"]]
    judged = [record for record in asked if record["status"] != "absent"]
    if not judged:
        return "not measured", "; ".join({record["gate"] for record in asked}) or f"{promise.case} was not run"
    wrong = [record for record in judged if record["status"] != "passed"]
    if wrong:
        return "missed", f"{wrong[0]['problem']}: {wrong[0]['gate']} ({len(wrong)} of {len(judged)} problems, {size})"
    return "met", f"in {len(judged)} of {len(judged)} problems ({size})"


def _by_row(promise: Promise, table: list[dict[str, Any]]) -> tuple[str, str]:
    def mean(row: str) -> tuple[float, int]:
        found = [float(record[promise.figure]) for record in table if record["row"] == row]
        return (sum(found) / len(found) if found else float("nan")), len(found)

    (came, seeds), (other, others) = mean(promise.row), mean(promise.over)
    wanted = other if promise.over else promise.least
    if not seeds or (promise.over and not others):
        return "not measured", f"{promise.row if not seeds else promise.over!r} has not run"
    than = f", {promise.over}" if promise.over else ""
    said = f"{came:.3f}, {seeds} seed{'s' * (seeds > 1)} (wanted >= {wanted:.3f}{than})"
    return "met" if came >= wanted else "missed", f"{said}: python -m bench learning, results/{LEARNING.stem}.md"


def _by_target(promise: Promise, records: list[dict[str, Any]], size: str) -> tuple[str, str]:
    found = [
        (record["problem"], target)
        for record in records
        for target in record.get("targets", [])
        if target["what"] == promise.what
    ]
    measured = [(problem, target) for problem, target in found if target["met"] is not None]
    if not measured:
        reasons = {record["gate"] for record in records if record["status"] != "passed"} if found else set()
        return "not measured", "; ".join(sorted(reasons)) or f"{promise.case} was not run with this"
    # The worst problem speaks for all.
    problem, worst = min(measured, key=lambda one: _of_wanted(one[1]))
    sign = "<=" if worst["at_most"] else ">="
    said = f"{worst['came']:.4g} (wanted {sign} {worst['target']:.4g}) in {problem}"
    met = sum(target["met"] for _, target in measured)
    held = f"met in {met} of {len(measured)} problems ({size})"
    return ("met", f"{held}; worst {said}") if met == len(measured) else ("missed", f"{said}; {held}")


def _of_wanted(target: dict[str, Any]) -> float:
    """Above 1 where the target is met, the further the better."""
    came, wanted = float(target["came"]), float(target["target"])
    if target["at_most"]:
        return wanted / came if came > 0 else float("inf")
    return came / wanted if wanted else float("inf")


def markdown(records: list[dict[str, Any]]) -> str:
    """One row a promise, and how many came to what."""
    judged = [(promise, *judge(promise, records)) for promise in ALL]
    counts: dict[str, int] = {}
    for _, verdict, _ in judged:
        counts[verdict] = counts.get(verdict, 0) + 1
    rows = "".join(
        f"| {promise.promise} | {f'**{verdict}**' if verdict == 'missed' else verdict} | {tables.cell(detail)} |\n"
        for promise, verdict, detail in judged
    )
    total = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    return f"{len(judged)} promises: {total}.\n\n| promise | | figure, or why there is none |\n|---|---|---|\n{rows}"
