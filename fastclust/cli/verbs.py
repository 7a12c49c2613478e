"""What the verbs of estimators share: where rows come from, where results go, here or on a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastclust.cli.output import displaying, print_json, say
from fastclust.cli.remote import connect, finish, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastclust.client import Client, Dataset, Job

__all__ = ["Metric", "Seed", "do", "rows_of", "tell"]

Metric = Annotated[str, typer.Option(help="euclidean, cosine or inner_product.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]


def do(
    source: str,
    out: Path,
    server: str | None,
    json: bool,
    here: Callable[[NDArray[Any]], tuple[dict[str, Any], dict[str, Any]]],
    there: Callable[[Client, Dataset], Job],
    *,
    features: bool = False,
) -> None:
    """Run an estimator on rows here and write its arrays, or submit it and write its results."""
    if server is not None:
        with connect(server) as client:
            result, paths = finish(there(client, send(client, source)[0]), out, quiet=json)
        tell(out, json, {**result.metrics, **result.notes}, [path.name for path in paths])
        return
    from fastclust import progress
    from fastclust.artifacts import save_array

    with displaying(quiet=json) as display, progress.listening(display.listen):
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
