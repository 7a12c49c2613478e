"""How time and memory grow when one size grows: runs the sizes, fits the exponents."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from bench.measure import run_problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.model import Curve

__all__ = ["exponent", "markdown", "run_curve"]

#: Peaks below are pages here and there, not a matter of the sizes.
_LEAST_BYTES = 4e6


def run_curve(curve: Curve, *, rounds: int | None = None, threads: int | None = None) -> list[dict[str, Any]]:
    """Run the problem of each value; records say which curve and value they belong to."""
    records = []
    for value in curve.values:
        problem = curve.problem(value)
        print(f"{curve.name}: {problem.name}", file=sys.stderr, flush=True)
        where = {"curve": curve.name, "variable": curve.variable, "value": value}
        records += [{**record, **where} for record in run_problem(problem, rounds=rounds, threads=threads)]
    return records


def exponent(values: Sequence[float], amounts: Sequence[float]) -> float | None:
    """Return p of ``amount ~ value^p`` by least squares of the logarithms; None for fewer than three values."""
    if len(values) < 3 or min(amounts) <= 0:
        return None
    x, y = [math.log(value) for value in values], [math.log(amount) for amount in amounts]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((one - middle_x) * (other - middle_y) for one, other in zip(x, y, strict=True))
    return above / sum((one - middle_x) ** 2 for one in x)


def series(records: list[dict[str, Any]]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Timed records by (curve, variable, contender), by growing value."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for record in records:
        if "curve" in record and "median" in record:
            found.setdefault((record["curve"], record["variable"], record["contender"]), []).append(record)
    return {key: sorted(chosen, key=lambda record: int(record["value"])) for key, chosen in found.items()}


def markdown(records: list[dict[str, Any]]) -> str:
    """One row a curve and contender."""
    rows = []
    for (curve, variable, contender), chosen in series(records).items():
        values = [record["value"] for record in chosen]
        seconds, peaks = (
            [record["median"] for record in chosen],
            [record["peak_memory_bytes"] for record in chosen],
        )
        time = exponent(values, seconds)
        memory = exponent(values, peaks) if min(peaks) >= _LEAST_BYTES else None
        sizes = ", ".join(map(str, values))
        times = f"{', '.join(f'{one:.3g}' for one in seconds)} | {_power(variable, time)}"
        memories = f"{', '.join(f'{one / 1e6:.0f}' for one in peaks)} | {_power(variable, memory)}"
        rows.append(f"| {curve} | {contender} | {sizes} | {times} | {memories} |\n")
    wrong = sorted(
        {(r["curve"], r["contender"], r["status"], r["gate"]) for r in records if "curve" in r and "median" not in r}
    )
    rows += [f"| {curve} | {contender} | **{status}**: {gate} | | | | |\n" for curve, contender, status, gate in wrong]
    if not rows:
        return ""
    return "| growth | contender | values | s | time | peak MB | memory |\n|---|---|---|---|---|---|---|\n" + "".join(
        rows
    )


def _power(variable: str, found: float | None) -> str:
    return "" if found is None else f"~ {variable}^{found:.2f}"
