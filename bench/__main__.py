"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import cases, machine, report
from bench.measure import run_problem


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if every gate of ours passed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="the cases and their problems")
    run = verbs.add_parser("run", help="measure cases")
    run.add_argument("cases", nargs="+", metavar="CASE", help="names, or all")
    run.add_argument("--size", choices=["small", "full"], default="small")
    run.add_argument("--rounds", type=int, help="timings a contender")
    run.add_argument("--threads", type=int, default=machine.threads_available())
    run.add_argument("--only", default="", help="problems whose name contains this")
    learn = verbs.add_parser("learning", help="quality of what is learned without labels; tens of minutes")
    learn.add_argument("--out", type=Path, help="JSON to write and to go on from")
    learn.add_argument("--only", default="", help="rows of the table whose name contains this")
    learn.add_argument("--seeds", type=int, nargs="*")
    verbs.add_parser("report", help="write results/tables.md from the stored results")
    chosen = parser.parse_args(arguments)
    if chosen.verb == "list":
        return _list()
    if chosen.verb == "report":
        return _report()
    if chosen.verb == "learning":
        from bench import learning

        return learning.main(chosen.out, chosen.only, chosen.seeds)
    return _run(chosen)


def _list() -> int:
    for case in cases.ALL.values():
        print(f"{case.name}: {case.summary}")
        for problem in case.problems("full"):
            print(f"    {problem.name}: {', '.join(contender.name for contender in problem.contenders)}")
    return 0


def _run(chosen: argparse.Namespace) -> int:
    names = list(cases.ALL) if "all" in chosen.cases else chosen.cases
    unknown = sorted(set(names) - set(cases.ALL))
    if unknown:
        print(f"no case {unknown[0]!r}; there are: {', '.join(cases.ALL)}", file=sys.stderr)
        return 2
    wrong = 0
    for name in names:
        records = []
        with machine.limited(chosen.threads):
            for problem in cases.ALL[name].problems(chosen.size):
                if chosen.only in problem.name:
                    records += run_problem(problem, rounds=chosen.rounds)
        distributions = {need for record in records for need in record["versions"]}
        shared = {
            "case": name,
            "size": chosen.size,
            "date": datetime.now(UTC).date().isoformat(),
            "command": f"python -m bench run {name} --size {chosen.size}",
            "machine": machine.describe(distributions, chosen.threads),
        }
        records = [{**shared, **record} for record in records]
        if records:
            report.save(records, name, chosen.size, some=bool(chosen.only))
        print(report.markdown(records), flush=True)
        wrong += sum(record["contender"] == "fastclust" and record["status"] != "passed" for record in records)
    return 1 if wrong else 0


def _report() -> int:
    path = report.RESULTS / "tables.md"
    path.write_text("# Tables\n\n" + report.markdown(report.load()), encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
