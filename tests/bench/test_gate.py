"""No speed is printed for what is wrong."""

import dataclasses
import re
import time

import numpy as np
import pytest

from bench import ceilings, report, tables
from bench.measure import run_problem
from bench.model import AbsentError, Contender, Problem, Target, Verdict


def problem(*contenders, targets=()):
    def gate(data, result):
        error = float(np.abs(result - np.sort(data)).max())
        return Verdict(error == 0, f"largest error {error:.3g}")

    return Problem(
        "sort 1000",
        lambda: np.random.default_rng(0).random(1000),
        contenders,
        gate,
        flops=1e4,
        figures=lambda _data, result: {"length": float(len(result))},
        targets=targets,
        rounds=3,
    )


def contender(name, work, needs=()):
    return Contender(name, lambda data: lambda: work(data), needs)


GOOD = contender("fastclust", np.sort)
PEER = contender("peer", lambda data: np.array(sorted(data)))
WRONG = contender("fastclust", lambda data: np.sort(data)[::-1])
BROKEN = contender("peer", lambda data: data.no_such_method())
ABSENT = contender("peer", np.sort, needs=("no-such-distribution",))


def table(records):
    machine = {"commit": "c", "cpu": "cpu", "threads": 1}
    shared = {"case": "sort", "size": "small", "command": "x", "date": "2026-01-01", "machine": machine}
    return tables.markdown([{**shared, **record} for record in records])


def test_right_results_are_timed_and_compared():
    ours, peer = run_problem(problem(GOOD, PEER))
    assert (ours["status"], peer["status"]) == ("passed", "passed")
    assert len(ours["seconds"]) == len(peer["seconds"]) == 3
    assert re.search(r"\d \(\d", table([ours, peer]))
    assert peer["times_ours"]["least"] <= peer["times_ours"]["median"] <= peer["times_ours"]["most"]
    assert ours["figures"] == {"length": 1000.0}


def test_a_wrong_kernel_turns_the_problem_red_and_no_speed_is_kept_of_anyone():
    records = run_problem(problem(WRONG, PEER))
    assert records[0]["status"] == "WRONG"
    assert not any("median" in record or "times_ours" in record for record in records)
    text = table(records)
    assert "**WRONG**: largest error" in text
    assert not re.search(r"\d \(\d", text), "a median with its spread"


@pytest.mark.parametrize(("bad", "status"), [(BROKEN, "error"), (ABSENT, "absent")])
def test_a_peer_that_fails_or_is_absent_is_reported_and_not_timed(bad, status):
    ours, peer = run_problem(problem(GOOD, bad))
    assert peer["status"] == status
    assert "seconds" not in peer
    assert "seconds" in ours
    assert f"**{status}**" in table([ours, peer])


def test_a_target_is_met_missed_or_not_measured():
    wanted = [
        Target("never slower than nothing", 0.0, peer="peer"),
        Target("impossible", 1e9, peer="peer"),
        Target("no such peer", 1.0, peer="other"),
        Target("length", 1000, figure="length", at_most=True),
    ]
    ours, _peer = run_problem(problem(GOOD, PEER, targets=wanted))
    assert [target["met"] for target in ours["targets"]] == [True, False, None, True]


def test_peak_memory_sees_a_large_temporary():
    def hungry(data):
        np.ones(32 * 2**20, np.uint8).sum()
        return np.sort(data)

    (ours,) = run_problem(problem(contender("fastclust", hungry)))
    assert ours["peak_memory_bytes"] >= 28 * 2**20


def test_a_problem_that_is_run_again_takes_the_place_of_its_old_record(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    for problems, date in ((["one", "two"], "2026-01-01"), (["two"], "2026-01-02")):
        records = [{"case": "sort", "problem": problem, "date": date} for problem in problems]
        report.save(records, "sort", "small", some=True)
    assert [(record["problem"], record["date"]) for record in report.load(tmp_path)] == [
        ("one", "2026-01-01"),
        ("two", "2026-01-02"),
    ]


def test_a_problem_that_runs_once_is_judged_and_timed_by_that_run():
    calls = []
    slow = contender("fastclust", lambda data: calls.append(1) or np.sort(data))
    (ours,) = run_problem(dataclasses.replace(problem(slow), once=True))
    assert len(calls) == len(ours["seconds"]) == 1
    assert ours["status"] == "passed"
    assert "only" not in ours


def test_a_peer_may_say_why_it_takes_no_part():
    def prepare(_data):
        raise AbsentError("it does not run here")

    ours, peer = run_problem(problem(GOOD, Contender("peer", prepare)))
    assert (peer["status"], peer["gate"]) == ("absent", "it does not run here")
    assert "seconds" in ours


@pytest.mark.alone
def test_a_slow_contender_gets_fewer_rounds_and_is_compared_in_those():
    slow = contender("peer", lambda data: time.sleep(0.12) or np.sort(data))
    ours, peer = run_problem(dataclasses.replace(problem(GOOD, slow), seconds=0.3))
    assert (len(ours["seconds"]), len(peer["seconds"])) == (3, 2)
    assert peer["times_ours"]["median"] > 1


def test_what_is_extrapolated_is_told_as_the_whole():
    part = Contender("peer", lambda data: lambda: time.sleep(0.02) or np.sort(data), times=10.0)
    _, peer = run_problem(problem(GOOD, part))
    assert peer["least"] >= 0.2


def test_ceilings_are_measured_in_every_round(monkeypatch):
    rates = iter([1e6, 2e6, 3e6])
    monkeypatch.setitem(ceilings.CEILINGS, "sgemm-square", lambda: next(rates))
    (ours,) = run_problem(dataclasses.replace(problem(GOOD), ceilings={"sgemm-square": {}}))
    share = ours["ceilings"]["sgemm-square"]
    assert share["ceiling"] == 2e6
    expected = sorted(1e4 / took / rate for took, rate in zip(ours["seconds"], (1e6, 2e6, 3e6), strict=True))
    assert [share["least"], share["share"], share["most"]] == pytest.approx(expected)


@pytest.mark.alone
def test_the_fastest_of_several_peers_counts():
    slow = contender("slow", lambda data: time.sleep(0.05) or np.sort(data))
    slower = contender("slower", lambda data: time.sleep(0.1) or np.sort(data))
    wanted = [Target("never slower", 1.0, peers=("slow", "slower", "absent"))]
    ours, first, _ = run_problem(problem(GOOD, slow, slower, targets=wanted))
    assert ours["targets"][0]["came"] == first["times_ours"]["median"]


def test_how_wrong_a_wrong_result_is_counts_as_missed_but_its_time_counts_nothing():
    wanted = [
        Target("length", 999, figure="length", at_most=True),
        Target("quick", 9.0, figure="median", at_most=True),
        Target("small", 1e12, figure="peak_memory_bytes", at_most=True),
    ]
    (ours,) = run_problem(problem(WRONG, targets=wanted))
    assert [target["met"] for target in ours["targets"]] == [False, None, None]


def test_what_the_last_run_left_is_taken_away_before_each_and_not_timed():
    done = []

    def prepare(data):
        return lambda: done.append("run") or np.sort(data)

    def before():
        done.append("before")
        time.sleep(0.02)

    (ours,) = run_problem(problem(Contender("fastclust", prepare, before=before)))
    assert done == ["before", "run"] * (len(done) // 2)
    assert len(done) // 2 == 2 + 3  # two to be judged, three rounds
    assert ours["most"] < 0.02
