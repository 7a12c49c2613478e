"""Plots of the stored results: times of the peers over ours, shares of ceilings, growth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import growth, machine, tables
from bench.model import OURS

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["draw"]

_COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22")


def draw(records: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Write one picture a case and size, and one more with its growth; none without matplotlib, which is said."""
    if machine.version_of("matplotlib") is None:
        print("no plots: matplotlib is not installed (pip install -r bench/requirements.txt)")
        return []
    import matplotlib as mpl

    mpl.use("Agg")
    written = []
    for (case, size), chosen in tables.groups(records).items():
        single = [record for record in chosen if "curve" not in record]
        if any("times_ours" in record for record in single):
            written.append(_compared(single, f"{case} ({size})", folder / f"{case}.{size}.png"))
        if growth.series(chosen):
            written.append(_growth(chosen, f"{case} ({size})", folder / f"{case}.{size}.growth.png"))
    return written


def _compared(records: list[dict[str, Any]], title: str, path: Path) -> Path:
    from matplotlib import pyplot as plt

    problems = list(dict.fromkeys(record["problem"] for record in records))
    peers = list(dict.fromkeys(record["contender"] for record in records if "times_ours" in record))
    shared = [record for record in records if record["contender"] == OURS and "ceilings" in record]
    height = 1.2 + len(problems) * (0.12 * len(peers) + 0.22)
    figure, axes = plt.subplots(
        1, 2 if shared else 1, figsize=(13 if shared else 9, height), sharey=True, squeeze=False
    )
    speed = axes[0][0]
    thickness = 0.8 / max(len(peers), 1)
    for number, peer in enumerate(peers):
        found = [record for record in records if record["contender"] == peer and "times_ours" in record]
        spreads = [record["times_ours"] for record in found]
        speed.barh(
            [problems.index(record["problem"]) - 0.4 + (number + 0.5) * thickness for record in found],
            [spread["median"] for spread in spreads],
            thickness,
            xerr=[
                [spread["median"] - spread["least"] for spread in spreads],
                [spread["most"] - spread["median"] for spread in spreads],
            ],
            color=_COLORS[number % len(_COLORS)],
            error_kw={"linewidth": 0.6},
            label=peer,
        )
    speed.axvline(1, color="black", linewidth=1)
    speed.set_xscale("log")
    speed.set_yticks(range(len(problems)), problems, fontsize=7)
    speed.invert_yaxis()
    speed.set_xlabel("time over ours (right of the line: slower than fastclust)")
    speed.legend(fontsize=7)
    if shared:
        _shares(axes[0][1], shared, problems)
    figure.suptitle(title)
    return _save(figure, path)


def _shares(axis: Any, records: list[dict[str, Any]], problems: list[str]) -> None:
    names = list(dict.fromkeys(name for record in records for name in record["ceilings"]))
    thickness = 0.8 / len(names)
    for number, name in enumerate(names):
        found = [record for record in records if name in record["ceilings"]]
        axis.barh(
            [problems.index(record["problem"]) - 0.4 + (number + 0.5) * thickness for record in found],
            [100 * record["ceilings"][name]["share"] for record in found],
            thickness,
            color=_COLORS[number % len(_COLORS)],
            label=name,
        )
    axis.axvline(100, color="black", linewidth=1)
    axis.set_xlabel("fastclust, % of what the machine did at best")
    axis.legend(fontsize=7)


def _growth(records: list[dict[str, Any]], title: str, path: Path) -> Path:
    from matplotlib import pyplot as plt

    found = growth.series(records)
    curves = list(dict.fromkeys((curve, variable) for curve, variable, _ in found))
    figure, axes = plt.subplots(2, len(curves), figsize=(4.2 * len(curves), 6.4), squeeze=False)
    for column, (curve, variable) in enumerate(curves):
        mine = {contender: chosen for (name, _, contender), chosen in found.items() if name == curve}
        for number, (contender, chosen) in enumerate(mine.items()):
            values = [record["value"] for record in chosen]
            seconds, peaks = [one["median"] for one in chosen], [one["peak_memory_bytes"] / 1e6 for one in chosen]
            power = growth.exponent(values, seconds)
            label = contender if power is None else f"{contender}  ~{variable}^{power:.2f}"
            color = _COLORS[number % len(_COLORS)]
            axes[0][column].plot(values, seconds, "o-", color=color, label=label)
            axes[1][column].plot(values, peaks, "o-", color=color, label=contender)
        axes[0][column].set(xscale="log", yscale="log", title=curve, ylabel="s")
        axes[1][column].set(xscale="log", yscale="symlog", xlabel=variable, ylabel="peak MB above the rows")
        axes[0][column].legend(fontsize=7)
        for axis in (axes[0][column], axes[1][column]):
            axis.grid(linewidth=0.3)
    figure.suptitle(title)
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot as plt

    figure.tight_layout()
    figure.savefig(path, dpi=90, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return path
