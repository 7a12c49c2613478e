"""Records as tables for people."""

from __future__ import annotations

from typing import Any

from bench import growth

__all__ = ["caption", "cell", "groups", "markdown"]


def groups(records: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Records by case and size, in their order."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        found.setdefault((record["case"], record["size"]), []).append(record)
    return found


def caption(records: list[dict[str, Any]]) -> str:
    """How, when and where the records of one case came about."""
    # Problems may have been run again one by one, on another machine too.
    runs = sorted({(record["date"], record["machine"]["commit"], _machine(record)) for record in records})
    machines = {machine for _, _, machine in runs}
    when = ", ".join(f"{date} (commit {commit}{f', {on}' if len(machines) > 1 else ''})" for date, commit, on in runs)
    tuning = {name: value for record in records for name, value in record["machine"].get("tuning", {}).items()}
    # Variables that change what the BLAS of all contenders and ceilings does.
    tuned = "".join(f", **{name}={value}**" for name, value in tuning.items())
    where = f", {machines.pop()}" if len(machines) == 1 else ""
    return f"`{records[0]['command']}`, {when}{where}{tuned}."


def _machine(record: dict[str, Any]) -> str:
    return f"{record['machine']['cpu']}, {record['machine']['threads']} threads"


def markdown(records: list[dict[str, Any]]) -> str:
    """Tables for people: one a case and size, one row a problem and contender; then growth and the targets."""
    parts = []
    for (case, size), chosen in groups(records).items():
        single = [record for record in chosen if "curve" not in record]
        parts.append(
            f"### {case} ({size})\n\n{caption(chosen)}\n\n"
            "| problem | contender | gate | median s (least-most) | times ours | of ceiling | peak MB |\n"
            "|---|---|---|---|---|---|---|\n" + "".join(_row(record) for record in single)
        )
        parts.append(growth.markdown(chosen))
        targets = [(record["problem"], target) for record in single for target in record.get("targets", [])]
        if targets:
            parts.append("| target | came | wanted | |\n|---|---|---|---|\n" + "".join(_target(*t) for t in targets))
    return "\n".join(part for part in parts if part)


def cell(text: str) -> str:
    """Text that stands in one cell of a table."""
    return text.replace("\n", " ").replace("|", "\\|")


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
    return f"| {record['problem']} | {cell(name)} | {cell(gate)} | {time} | {ratio} | {share} | {memory} |\n"


def _target(problem: str, target: dict[str, Any]) -> str:
    sign = "<=" if target["at_most"] else ">="
    came = "not measured" if target["came"] is None else f"{target['came']:.4g}"
    verdict = {True: "met", False: "**missed**", None: "not measured"}[target["met"]]
    return f"| {problem}: {target['what']} | {came} | {sign} {target['target']:.4g} | {verdict} |\n"
