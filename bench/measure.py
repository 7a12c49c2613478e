"""Runs one problem: gate first, then timings in turns, so that a noisy machine hits all contenders alike."""

from __future__ import annotations

import gc
import statistics
import time
import traceback
from typing import TYPE_CHECKING, Any

from bench import ceilings, machine
from bench.model import OURS

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.model import Contender, Problem

__all__ = ["run_problem"]


def run_problem(problem: Problem, *, rounds: int | None = None) -> list[dict[str, Any]]:
    """Return one record a contender. Only those that passed the gate have timings."""
    data = problem.data()
    records: dict[str, dict[str, Any]] = {}
    ready: dict[str, Callable[[], Any]] = {}
    for contender in problem.contenders:
        record, call = _admit(problem, contender, data)
        records[contender.name] = record
        if call is not None:
            ready[contender.name] = call
    if OURS in records and OURS not in ready:
        # Nothing of ours to compare with: no speeds at all for a problem that we get wrong.
        ready = {}
    if problem.once:
        timings = {name: records[name].pop("only") for name in ready}
    else:
        timings = _time_in_turns(ready, rounds or problem.rounds)
    for name, seconds in timings.items():
        records[name].update(_summary(problem, seconds))
    _compare(records)
    for record in records.values():
        record.pop("only", None)
        record["targets"] = _judge(problem, records) if record["contender"] == OURS else []
    return list(records.values())


def _admit(problem: Problem, contender: Contender, data: Any) -> tuple[dict[str, Any], Callable[[], Any] | None]:
    """Run once, unmeasured, and judge the result."""
    record: dict[str, Any] = {
        "problem": problem.name,
        "contender": contender.name,
        "remark": contender.remark,
        "status": "absent",
        "versions": {name: machine.version_of(name) for name in contender.needs},
    }
    missing = [name for name, version in record["versions"].items() if version is None]
    if missing:
        record["gate"] = f"not installed: {', '.join(missing)}"
        return record, None
    try:
        call = contender.prepare(data)
        if not problem.once:
            call()  # compiles, allocates, fills caches
        gc.collect()
        before = machine.reset_peak_memory()
        start = time.perf_counter()
        result = call()
        record["only"] = [time.perf_counter() - start]
        record["peak_memory_bytes"] = max(0, machine.peak_memory() - before)
        verdict = problem.gate(data, result)
    except Exception as error:  # noqa: BLE001 - a contender that fails is a finding, not the end of the suite
        record.update(status="error", gate=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        return record, None
    record.update(status="passed" if verdict.passed else "WRONG", gate=verdict.detail)
    if problem.figures is not None:
        record["figures"] = problem.figures(data, result)
    return record, call if verdict.passed else None


def _time_in_turns(ready: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    names = list(ready)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        # Each round starts with another contender: nobody always runs on the machine that the other warmed up.
        for name in names[turn % len(names) :] + names[: turn % len(names)] if names else []:
            gc.collect()
            start = time.perf_counter()
            ready[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def _summary(problem: Problem, seconds: list[float]) -> dict[str, Any]:
    median = statistics.median(seconds)
    out: dict[str, Any] = {
        "seconds": seconds,
        "median": median,
        "least": min(seconds),
        "most": max(seconds),
    }
    shares = {}
    for name, arguments in problem.ceilings.items():
        work = problem.flops if name.startswith("sgemm") else problem.bytes
        if work:
            peak = ceilings.measure(name, **arguments)
            shares[name] = {"ceiling": peak, "share": work / median / peak}
    if problem.flops:
        out["gflops"] = problem.flops / median / 1e9
    if shares:
        out["ceilings"] = shares
    return out


def _compare(records: dict[str, dict[str, Any]]) -> None:
    """How many times as long each peer took as we did: the median over rounds, and its spread."""
    ours = records.get(OURS, {}).get("seconds")
    if not ours:
        return
    for record in records.values():
        if record["contender"] != OURS and "seconds" in record:
            ratios = sorted(theirs / mine for theirs, mine in zip(record["seconds"], ours, strict=True))
            record["times_ours"] = {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}


def _judge(problem: Problem, records: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    judged = []
    for target in problem.targets:
        ours = records[OURS]
        if target.peer:
            peers = [records.get(peer, {}).get("times_ours", {}).get("median") for peer in target.peer.split("|")]
            came = None if None in peers else max(peers)
        elif target.ceiling:
            came = ours.get("ceilings", {}).get(target.ceiling, {}).get("share")
        else:
            came = ours.get("figures", {}).get(target.figure, ours.get(target.figure))
        met = None if came is None else (came <= target.value if target.at_most else came >= target.value)
        judged.append(
            {"what": target.what, "target": target.value, "came": came, "met": met, "at_most": target.at_most}
        )
    return judged
