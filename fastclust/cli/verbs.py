"""What the verbs of estimators share: where rows come from, where results go, here or on a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastclust.cli.output import displaying, print_json, say
from fastclust.cli.remote import connect, finish, send
from fastclust.cli.timeleft import StepPace
from fastclust.errors import InputError, OperationCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastclust.client import Client, Dataset, Job
    from fastclust.data import RowSource

__all__ = ["Metric", "Neighbors", "Seed", "counted", "do", "one_of", "rows_of", "tell", "write_parts"]

Metric = Annotated[str, typer.Option(help="euclidean, cosine or inner_product.")]
Neighbors = Annotated[
    int | None, typer.Option("--neighbors", "-k", help="Neighbours a row; 15, or all others of few rows.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]


def do(
    source: str,
    out: Path,
    server: str | None,
    json: bool,
    here: Callable[[NDArray[Any]], tuple[dict[str, Any], dict[str, Any]]],
    there: Callable[[Client, Dataset], Job] | None = None,
    *,
    features: bool = False,
) -> None:
    """Run an estimator on rows here and write its arrays, or submit it and write its results."""
    if server is not None and there is not None:
        with connect(server) as client:
            result, paths = finish(there(client, send(client, source)[0]), out, quiet=json)
        tell(out, json, {**result.metrics, **result.notes}, [path.name for path in paths])
        return
    from fastclust import progress
    from fastclust.artifacts import save_array

    told = StepPace()
    with displaying(quiet=json) as display, progress.listening(lambda one: told.show(display, one)):
        rows = rows_of(source, features=features)
        out.mkdir(parents=True, exist_ok=True)
        arrays, notes = here(rows)
    for name, array in arrays.items():
        save_array(out / f"{name}.npy", array)
    tell(out, json, notes, [f"{name}.npy" for name in arrays])


def rows_of(source: str, *, features: bool) -> NDArray[Any]:
    """Rows of a source; images become the features that learning starts from (or, for estimators, pixels in rows)."""
    from fastclust.pipeline.source import open_source

    opened = open_source(source)
    if opened.rows is not None:
        return opened.rows.read()
    assert opened.images is not None
    from fastclust.learning.features import compute_features

    kind = "auto" if features else "pixels"
    values: NDArray[Any] = compute_features(opened.images, features=kind).values
    return values


def tell(out: Path, json: bool, notes: dict[str, Any], files: list[str]) -> None:
    """Say what came out and which files hold it."""
    if json:
        print_json({"out": str(out), "files": files, **notes})
        return
    for name, value in notes.items():
        if not isinstance(value, list):
            say(f"{name}: {value}")
    say(f"wrote {', '.join(files)} in {out}")


def write_parts(
    rows: RowSource, out: Path, json: bool, work: Callable[[RowSource], tuple[list[Path], dict[str, Any]]]
) -> None:
    """Do ``work`` on files of rows, which leaves files in ``out``; interrupted, it says how to go on."""
    from fastclust import progress

    told = StepPace()
    with displaying(quiet=json) as display:
        try:
            with progress.listening(lambda one: told.show(display, one)):
                files, notes = work(rows)
        except KeyboardInterrupt:
            raise OperationCancelledError(
                f"whole files in {out} are kept. The same command goes on from there."
            ) from None
    names = [str(file.relative_to(out)) for file in files]
    tell(out, json, {"rows": len(rows), **notes}, names if json else [counted(len(names))])


def counted(files: int) -> str:
    """How many files, in words."""
    return "1 file" if files == 1 else f"{files} files"


def one_of(sources: list[str]) -> str:
    """The only source. Raises InputError for several."""
    if len(sources) != 1:
        raise InputError("source", f"{len(sources)} of them", "one, of images or with --server")
    return sources[0]
