"""Runs one problem: gate first, then timings in turns, so that a noisy machine hits all contenders alike."""

from __future__ import annotations

import gc
import statistics
import time
import traceback
from typing import TYPE_CHECKING, Any

from bench import ceilings, machine
from bench.judge import judge
from bench.model import OURS, AbsentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.model import Contender, Problem

__all__ = ["run_problem"]

#: Seconds before each timing: a BLAS's threads spin for a while after its call, on the cores of whoever comes next.
_SETTLE = 0.12


def run_problem(problem: Problem, *, rounds: int | None = None, threads: int | None = None) -> list[dict[str, Any]]:
    """Return one record a contender. Only those that passed the gate have timings."""
    data = problem.data()
    records: dict[str, dict[str, Any]] = {}
    ready: dict[str, Callable[[], Any]] = {}
    for contender in problem.contenders:
        record, call = _admit(problem, contender, data, threads or machine.threads_available())
        records[contender.name] = record
        if call is not None:
            ready[contender.name] = call
    if OURS in records and OURS not in ready:
        # Nothing of ours to compare with: no speeds at all for a problem that we get wrong.
        ready = {}
    if problem.once:
        seconds = {name: [records[name]["first"]] for name in ready}
        peaks = [_ceilings(problem)] if ready else []
    else:
        turns = {name: _turns(problem, records[name]["first"], rounds) for name in ready}
        seconds, peaks = _time_in_turns(problem, ready, turns)
    times = {contender.name: contender.times for contender in problem.contenders}
    for name, timings in seconds.items():
        records[name].update(_summary(problem, [times[name] * timing for timing in timings], peaks))
    _compare(records)
    for record in records.values():
        record.pop("first", None)
        record["targets"] = judge(problem.targets, records) if record["contender"] == OURS else []
    return list(records.values())


def _admit(
    problem: Problem, contender: Contender, data: Any, threads: int
) -> tuple[dict[str, Any], Callable[[], Any] | None]:
    """Run once, and judge the result."""
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
        # What was just imported brings its own threads.
        machine.equalise(threads)
        result, first, peak = _weighed(call, contender.before)
        # The first run compiles, allocates and fills caches; a peer's counts where a second one would take too long.
        if not problem.once and (contender.name == OURS or first < problem.seconds / 3):
            result, first, peak = _weighed(call, contender.before)
        verdict = problem.gate(data, result)
    except AbsentError as reason:
        record["gate"] = str(reason)
        return record, None
    except Exception as error:  # noqa: BLE001 - a contender that fails is a finding, not the end of the suite
        record.update(status="error", gate=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        return record, None
    record.update(status="passed" if verdict.passed else "WRONG", gate=verdict.detail)
    record.update(first=first, peak_memory_bytes=peak)
    if problem.figures is not None:
        record["figures"] = problem.figures(data, result)
    return record, call if verdict.passed else None


def _weighed(call: Callable[[], Any], before_it: Callable[[], object] | None) -> tuple[Any, float, int]:
    """Return the result, its seconds and the most memory above what was there before."""
    if before_it is not None:
        before_it()
    gc.collect()
    before = machine.reset_peak_memory()
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    return result, seconds, max(0, machine.peak_memory() - before)


def _turns(problem: Problem, first: float, rounds: int | None) -> int:
    return max(1, min(rounds or problem.rounds, int(problem.seconds / max(first, 1e-9))))


def _time_in_turns(
    problem: Problem, ready: dict[str, Callable[[], Any]], turns: dict[str, int]
) -> tuple[dict[str, list[float]], list[dict[str, float]]]:
    """Seconds of each contender, and the ceilings as they were in each round."""
    names = list(ready)
    before = {contender.name: contender.before for contender in problem.contenders}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    peaks = []
    for turn in range(max(turns.values(), default=0)):
        peaks.append(_ceilings(problem))
        # Each round starts with another contender: nobody always runs on the machine that the other warmed up.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if turn < turns[name]:
                if (first_of_all := before[name]) is not None:
                    first_of_all()
                gc.collect()
                time.sleep(_SETTLE)
                start = time.perf_counter()
                ready[name]()
                seconds[name].append(time.perf_counter() - start)
    return seconds, peaks


def _ceilings(problem: Problem) -> dict[str, float]:
    return {name: ceilings.measure(name, **arguments) for name, arguments in problem.ceilings.items()}


def _summary(problem: Problem, seconds: list[float], peaks: list[dict[str, float]]) -> dict[str, Any]:
    median = statistics.median(seconds)
    out: dict[str, Any] = {"seconds": seconds, "median": median, "least": min(seconds), "most": max(seconds)}
    if problem.flops:
        out["gflops"] = problem.flops / median / 1e9
    shares = {}
    for name in problem.ceilings:
        work = {"flops": problem.flops, "bytes": problem.bytes, "calls": problem.calls}[ceilings.UNITS[name]]
        if work:
            # Each round against the ceiling of that round: the machine drifts.
            each = sorted(work / took / peak[name] for took, peak in zip(seconds, peaks, strict=False))
            ceiling = statistics.median(peak[name] for peak in peaks)
            shares[name] = {"ceiling": ceiling, "share": statistics.median(each), "least": each[0], "most": each[-1]}
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
            ratios = _ratios(record["seconds"], ours)
            record["times_ours"] = {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}


def _ratios(theirs: list[float], ours: list[float]) -> list[float]:
    """Round against round, so that the machine's drift cancels out.

    A contender too slow for three rounds stands against the median of ours: minutes after our last call the machine's
    free memory has gone cold, and our one call beside it would decide.
    """
    if len(theirs) < min(3, len(ours)):
        return sorted(their / statistics.median(ours) for their in theirs)
    return sorted(their / mine for their, mine in zip(theirs, ours, strict=False))
