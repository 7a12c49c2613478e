"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import cases, growth, machine, own_data, report, tables, targets, vectors
from bench.measure import run_problem
from bench.model import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.model import Problem


#: What one contender may take of a small problem: all of them are to end within a quarter of an hour.
_SMALL_SECONDS, _SMALL_ROUNDS = 2.0, 3


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
    run.add_argument("--only", default="", help="problems and curves whose name contains this")
    run.add_argument(
        "--data", type=Path, help="in place of the case's problems: an HDF5 file, or a folder of fbin files"
    )
    run.add_argument("--clusters", type=int, default=256, help="of k-means on --data")
    convert = verbs.add_parser("convert", help="ann-benchmarks' HDF5 to big-ann-benchmarks' files, and back")
    convert.add_argument("source", type=Path, help="an HDF5 file, or a folder of base.*bin, query.*bin, truth.ibin")
    convert.add_argument("target", type=Path, help="the other of the two")
    learn = verbs.add_parser("learning", help="quality of what is learned without labels; tens of minutes")
    learn.add_argument("--out", type=Path, help="JSON to write and to go on from")
    learn.add_argument("--only", nargs="*", help="rows of these names, or those whose names contain one of them")
    learn.add_argument("--seeds", type=int, nargs="*")
    learn.add_argument("--tune", action="store_true", help="score 10,000 training rows that are not learned from")
    seen = verbs.add_parser("insight", help="planted copies and oddities, choice of k, labels asked for well; an hour")
    seen.add_argument("--rows", type=int, default=10_000, help="images of Fashion-MNIST")
    seen.add_argument("--learn-rows", type=int, help="images of them that are learned from; all if not given")
    seen.add_argument("--no-fine-tune", action="store_true", help="labels are spread only: minutes instead of an hour")
    seen.add_argument("--out", type=Path, help="JSON to write and to go on from")
    verbs.add_parser(
        "report", help="write the tables, plots, targets and the rows in README.md from the stored results"
    )
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in cases.ALL and given[0] not in verbs.choices:
        given = ["run", *given]  # python -m bench service
    chosen = parser.parse_args(given)
    if chosen.verb == "list":
        return _list()
    if chosen.verb == "report":
        return _report()
    if chosen.verb == "learning":
        from bench import learning

        if chosen.tune and chosen.out is None:
            parser.error("--tune needs --out: its figures are not results")
        return learning.main(chosen.out, chosen.only or [""], chosen.seeds, tune=chosen.tune)
    if chosen.verb == "insight":
        from bench import insight

        return insight.main(chosen.rows, chosen.out, chosen.learn_rows, fine_tune=not chosen.no_fine_tune)
    try:
        return _convert(chosen) if chosen.verb == "convert" else _run(chosen)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


def _convert(chosen: argparse.Namespace) -> int:
    vectors.write(vectors.read(chosen.source), chosen.target)
    return 0


def _list() -> int:
    for case in cases.ALL.values():
        print(f"{case.name}: {case.summary}")
        for problem in case.problems("full"):
            print(f"    {problem.name}: {', '.join(contender.name for contender in problem.contenders)}")
    return 0


def _run(chosen: argparse.Namespace) -> int:
    names = list(cases.ALL) if "all" in chosen.cases else chosen.cases
    allowed = own_data.CASES if chosen.data else cases.ALL
    unknown = sorted(set(names) - set(allowed))
    if unknown:
        raise ValueError(
            f"no case {unknown[0]!r}{' for --data' if chosen.data else ''}; there are: {', '.join(allowed)}"
        )
    machine.prepare_threads(chosen.threads)
    wrong = 0
    for name in names:
        start = time.monotonic()
        records = _of_own_data(name, chosen) if chosen.data else _of_case(name, chosen)
        print(f"{tables.markdown(records)}\n{name} took {time.monotonic() - start:.0f} s.\n", flush=True)
        wrong += sum(record["contender"] == OURS and record["status"] in {"WRONG", "error"} for record in records)
    return 1 if wrong else 0


def _of_case(name: str, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Run a case and keep its records, those of each problem at once: a run that is ended early leaves what it did."""
    case = cases.ALL[name]
    command = f"python -m bench run {name} --size {chosen.size}"
    records = []
    try:
        for found in chain(
            _measured(case.problems(chosen.size), name, chosen),
            (
                growth.run_curve(curve, rounds=chosen.rounds, threads=chosen.threads)
                for curve in case.curves(chosen.size)
                if chosen.only in curve.name
            ),
        ):
            new = _described(found, name, command, chosen)
            report.save(new, name, chosen.size, some=True)
            records += new
    finally:
        case.finish()
    if records and not chosen.only:
        # Problems that are no longer there go.
        report.save(records, name, chosen.size)
    return records


def _of_own_data(name: str, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Run a case on a file of the user's: printed, not kept."""
    problems = own_data.problems(name, chosen.data, chosen.clusters)
    records = list(chain.from_iterable(_measured(problems, name, chosen)))
    return _described(records, name, f"python -m bench run {name} --data {chosen.data}", chosen)


def _measured(problems: Sequence[Problem], name: str, chosen: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    for problem in problems:
        if chosen.only in problem.name:
            print(f"{name}: {problem.name}", file=sys.stderr, flush=True)
            if chosen.size == "small" and not chosen.data:
                problem = replace(  # noqa: PLW2901
                    problem, seconds=min(problem.seconds, _SMALL_SECONDS), rounds=min(problem.rounds, _SMALL_ROUNDS)
                )
            yield run_problem(problem, rounds=chosen.rounds, threads=chosen.threads)


def _described(
    records: list[dict[str, Any]], name: str, command: str, chosen: argparse.Namespace
) -> list[dict[str, Any]]:
    distributions = {need for record in records for need in record["versions"]}
    shared = {
        "case": name,
        "size": "own data" if chosen.data else chosen.size,
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "machine": machine.describe(distributions, chosen.threads),
    }
    return [{**shared, **record} for record in records]


def _report() -> int:
    for path in report.write():
        print(path)
    print("\n" + targets.markdown(report.load()))
    return 0


if __name__ == "__main__":
    # What a case has started is stopped when the run is.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    sys.exit(main())
