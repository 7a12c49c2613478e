"""Whether a problem's targets were met."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.model import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.model import Target

__all__ = ["judge"]


def judge(targets: Sequence[Target], records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one entry a target, from the records of a problem by contender; ``met`` is None if not measured."""
    judged = []
    for target in targets:
        came = _came(target, records)
        met = None if came is None else (came <= target.value if target.at_most else came >= target.value)
        judged.append(
            {"what": target.what, "target": target.value, "came": came, "met": met, "at_most": target.at_most}
        )
    return judged


def _came(target: Target, records: Mapping[str, Mapping[str, Any]]) -> float | None:
    ours = records[OURS]
    if target.peer or target.peers:
        ratios = [
            records[name]["times_ours"]["median"]
            for name in target.peers or (target.peer,)
            if "times_ours" in records.get(name, {})
        ]
        return (max if target.slowest else min)(ratios, default=None)
    if target.ceiling:
        share: float | None = ours.get("ceilings", {}).get(target.ceiling, {}).get("share")
        return share
    # How good a result is, is told of a wrong one too; what it took is not.
    figure: float | None = ours.get("figures", {}).get(target.figure)
    if figure is None and ours["status"] == "passed":
        figure = ours.get(target.figure)
    return figure
