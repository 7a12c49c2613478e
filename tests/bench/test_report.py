"""What is made of the stored results, and that every promise of the design has its place."""

import json
from pathlib import Path

import pytest

from bench import cases, growth, learning, readme, report, tables, targets
from bench.targets import Promise

ROOT = Path(__file__).parents[2]


def record(problem="p", contender="fastclust", status="passed", size="small", **more):
    machine = {"commit": "c", "cpu": "cpu", "threads": 2}
    return {
        "case": "sort",
        "size": size,
        "command": "python -m bench run sort",
        "date": "2026-01-01",
        "machine": machine,
        "problem": problem,
        "contender": contender,
        "remark": "",
        "status": status,
        "gate": "because",
        **more,
    }


def timed(problem="p", contender="fastclust", **more):
    return record(problem, contender, seconds=[2.0], median=2.0, least=2.0, most=2.0, peak_memory_bytes=5, **more)


RATIO = {"median": 0.5, "least": 0.4, "most": 0.6}


def test_the_readme_shows_what_the_stored_results_give():
    text = readme.README.read_text("utf-8")
    assert readme.with_section(text, readme.section(report.load())) == text, "run python -m bench report"


def test_the_tables_show_what_the_stored_results_give():
    page = (report.RESULTS / "tables.md").read_text("utf-8")
    assert page == report.page(report.load()), "run python -m bench report"


def test_a_section_shows_full_sizes_where_there_are_and_who_is_quicker_or_absent():
    records = [
        timed("small one", size="small"),
        timed("large one", size="full", ceilings={"copy": {"share": 0.5}}),
        timed("large one", "peer", size="full", times_ours=RATIO),
        record("large one", "other", "absent", "full"),
        record("bad one", "fastclust", "WRONG", "full"),
    ]
    text = readme.section(records)
    assert "small one" not in text
    assert "| large one | 2 | **peer 0.5**, other absent | 50 % copy |" in text
    assert "| bad one | **WRONG** |" in text
    assert "`python -m bench run sort`, 2026-01-01" in text


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match="lacks the lines"):
        readme.with_section("no marks", "")


@pytest.mark.parametrize("promise", targets.ALL, ids=lambda promise: promise.promise[:60])
def test_each_promise_points_to_a_figure_a_test_or_a_reason(promise):
    ways = [bool(promise.case), bool(promise.test), bool(promise.why), bool(promise.row)]
    assert sum(ways) == 1, "exactly one of case, row, test and why"
    if promise.row:
        assert {promise.row, promise.over} - {""} <= {row.name for row in learning.ROWS}
        assert bool(promise.least) != bool(promise.over)
    assert promise.verdict in {"", "met", "missed"}
    assert promise.why or not promise.verdict
    if promise.test:
        assert (ROOT / promise.test).is_file()
    if promise.case:
        assert bool(promise.what) != bool(promise.gate)
        problems = [problem for size in ("small", "full") for problem in cases.ALL[promise.case].problems(size)]
        if promise.gate:
            assert any(promise.gate in problem.name for problem in problems)
        else:
            assert promise.what in {target.what for problem in problems for target in problem.targets}


def test_each_target_of_a_problem_is_a_promise_or_named_as_more_than_one():
    promised = {(promise.case, promise.what) for promise in targets.ALL}
    found = {
        (case.name, target.what)
        for case in cases.ALL.values()
        for size in ("small", "full")
        for problem in case.problems(size)
        for target in problem.targets
    }
    ours_alone = {
        ("kmeans++", "seeding: never slower than scikit-learn's"),
        ("pca", "pca: never slower than the fastest peer"),
    }
    assert found - promised == ours_alone


def entry(came, wanted=4.0, *, at_most=False):
    met = None if came is None else (came <= wanted if at_most else came >= wanted)
    return {"what": "w", "target": wanted, "came": came, "met": met, "at_most": at_most}


def test_a_promise_is_met_only_if_every_problem_meets_it_and_the_worst_is_told():
    promise = Promise("p", case="sort", what="w")
    good, bad, unknown = (timed(name, targets=[entry(came)]) for name, came in (("a", 5.0), ("b", 3.0), ("c", None)))
    assert targets.judge(promise, [good])[0] == "met"
    verdict, detail = targets.judge(promise, [good, bad, unknown])
    assert verdict == "missed"
    assert "3 (wanted >= 4) in b" in detail
    assert "met in 1 of 2" in detail
    assert targets.judge(promise, [unknown])[0] == "not measured"
    assert targets.judge(promise, [])[0] == "not measured"


def test_a_row_of_the_learning_table_is_judged_by_its_mean(tmp_path, monkeypatch):
    records = [{"row": row, "f": value} for row, value in (("a", 0.5), ("a", 0.7), ("b", 0.6), ("c", 0.61))]
    monkeypatch.setattr(targets, "LEARNING", tmp_path / "learning.json")
    targets.LEARNING.write_text(json.dumps(records), "utf-8")
    verdict, detail = targets.judge(Promise("p", row="a", figure="f", least=0.6), [])
    assert verdict == "met"
    assert detail.startswith("0.600, 2 seeds (wanted >= 0.600)")
    assert targets.judge(Promise("p", row="a", figure="f", over="b"), [])[0] == "met"
    assert targets.judge(Promise("p", row="a", figure="f", over="c"), [])[0] == "missed"
    assert targets.judge(Promise("p", row="a", figure="f", over="none"), [])[0] == "not measured"
    assert targets.judge(Promise("p", why="3 s, file", verdict="missed"), []) == ("missed", "3 s, file")


def test_a_caption_names_every_machine_that_rows_are_of():
    first, second = timed("a"), timed("b")
    second = {**second, "machine": {**second["machine"], "cpu": "another"}}
    assert tables.caption([first, second]).count("threads") == 2
    assert "another" in tables.caption([first, second])
    assert tables.caption([first, first]).count("threads") == 1


def test_full_sizes_decide_where_both_were_run():
    promise = Promise("p", case="sort", what="w")
    small, full = timed("a", size="small", targets=[entry(9.0)]), timed("a", size="full", targets=[entry(1.0)])
    assert targets.judge(promise, [small, full])[0] == "missed"


def test_a_gate_that_was_not_passed_is_a_miss():
    promise = Promise("p", case="sort", gate="sorted")
    good, wrong = timed("sorted a"), record("sorted b", status="WRONG")
    assert targets.judge(promise, [good])[0] == "met"
    assert targets.judge(promise, [good, wrong])[0] == "missed"
    assert targets.judge(promise, [record("sorted c", status="absent")])[0] == "not measured"


def test_no_promise_is_dropped():
    text = targets.markdown([])
    assert all(promise.promise in text for promise in targets.ALL)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_exponents_are_found(power):
    values = [10, 40, 160, 640]
    assert growth.exponent(values, [3 * value**power for value in values]) == pytest.approx(power)


def test_growth_is_a_table_of_its_own():
    records = [timed(f"n={n}", curve="time against n", variable="n", value=n) | {"median": float(n)} for n in (1, 2, 4)]
    text = growth.markdown(records)
    assert "| time against n | fastclust | 1, 2, 4 | 1, 2, 4 | ~ n^1.00 |" in text


def test_every_case_has_problems_with_names_of_their_own():
    for case in cases.ALL.values():
        for size in ("small", "full"):
            names = [problem.name for problem in case.problems(size)]
            assert names
            assert len(names) == len(set(names)), case.name
            assert all(contenders_of(problem) for problem in case.problems(size))


def contenders_of(problem):
    names = [contender.name for contender in problem.contenders]
    return len(names) == len(set(names)) and "fastclust" in names
