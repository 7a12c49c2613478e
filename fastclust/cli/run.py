"""``fastclust run``: the whole run, here or on a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fastclust.cli.engines import Address, Device, Engine, Workers, check_device, cluster_of, trainer_of
from fastclust.cli.output import displaying, print_json, say
from fastclust.cli.remote import connect, finish, send
from fastclust.cli.timeleft import StepPace
from fastclust.errors import InputError

__all__ = ["run"]

Source = Annotated[
    str, typer.Argument(help="Folder, .tar or .parquet of images, .npy, IDX file, digits or fashion-mnist.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")]
Server = Annotated[str | None, typer.Option("--server", help="host:port of a server to run on; here if not given.")]
Index = Annotated[str, typer.Option(help="auto, exact, cells, flat, ivf, hnsw, nndescent or a FAISS factory string.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")]


def run(
    source: Source,
    out: Out,
    *,
    labels: Annotated[str | None, typer.Option(help="Labels to score against: .npy or CSV id,label.")] = None,
    train_labels: Annotated[str | None, typer.Option(help="Labels to fine-tune with: .npy or CSV.")] = None,
    clusters: Annotated[
        str | None,
        typer.Option("--clusters", "-k", help="Number of clusters, or auto; as many as labels, or 10, if not given."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the report.")] = None,
    features: Annotated[str, typer.Option(help="auto, pixels or efficientnet-lite0.")] = "auto",
    epochs: Annotated[int | None, typer.Option(help="Epochs of learning.")] = None,
    embedding_dim: Annotated[int | None, typer.Option(help="Columns of the learned embedding.")] = None,
    metric: Annotated[str, typer.Option(help="euclidean, cosine or mahalanobis.")] = "euclidean",
    neighbors: Annotated[int | None, typer.Option(help="Neighbours a row; 15, or all others of few rows.")] = None,
    index: Annotated[
        str, typer.Option(help="auto, exact, cells, flat, ivf, hnsw, nndescent or a FAISS factory string.")
    ] = "auto",
    perplexity: Annotated[
        float | None, typer.Option(help="Effective neighbours on the map; 30, or a third of few rows.")
    ] = None,
    map_iterations: Annotated[int, typer.Option(help="Iterations of the map.")] = 750,
    steps: Annotated[str | None, typer.Option(help="Steps to run, by commas; what they need is added.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same result.")] = 0,
    device: Device = "auto",
    engine: Engine = "local",
    address: Address = None,
    workers: Workers = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Learn an embedding, find neighbours and clusters, draw the map, write report.html and map.png.

    Run again with the same --out, only what changed is done again. Labels that the report exported go into
    --train-labels; with another --out, fastclust compare shows what they were worth. --engine ray has a Ray cluster
    do the learning; all else is done here.
    """
    params: dict[str, Any] = {
        "n_clusters": _count(clusters),
        "title": title,
        "features": features,
        "epochs": epochs,
        "embedding_dim": embedding_dim,
        "metric": metric,
        "n_neighbors": neighbors,
        "index": index,
        "perplexity": perplexity,
        "map_max_iter": map_iterations,
        "random_state": seed,
    }
    on = cluster_of(engine, address, workers, server)
    check_device(device, on, server)
    wanted = steps.split(",") if steps else None
    if on is not None and wanted is not None and not {"teach", "learn"} & set(wanted):
        raise InputError("engine", "ray, with --steps that learn nothing", "learn among the steps, or --engine local")
    if server is None:
        from fastclust import progress
        from fastclust.pipeline import run as run_here
        from fastclust.warming import COMPILING, beside

        told = StepPace()
        with (
            displaying(quiet=json) as display,
            beside() as compiling,
            progress.listening(lambda one: told.show(display, one)),
        ):
            if compiling:
                display.notice(COMPILING)
            done = run_here(
                source,
                out,
                labels=labels,
                train_labels=train_labels,
                steps=wanted,
                trainer=trainer_of(on),
                device=device,
                **params,
            )
        quality, record = done.quality, done.steps
    else:
        from fastclust.artifacts import load_json

        with connect(server) as client:
            data, known = send(client, source, labels)
            extra = {"labels": known} if known else {}
            if train_labels:
                extra["train_labels"] = client.upload_labels(train_labels)
            finish(client.pipeline(data, steps=wanted or (), **params, **extra), out, quiet=json)
        quality = load_json(out / "quality.json") if (out / "quality.json").exists() else {}
        record = load_json(out / "run.json")["steps"]
    if json:
        print_json({"out": str(out), "quality": quality, "steps": record})
    else:
        again = [step["name"] for step in record if not step["reused"]]
        say(f"done: {', '.join(again) or 'nothing, all is as it was'}")
        if (out / "report.html").exists():
            say(f"wrote {out / 'report.html'} and {out / 'map.png'}; to look: fastclust view {out}")
        else:
            say(f"wrote {out}")


def _count(text: str | None) -> int | str | None:
    """Read a number of clusters. Raises InputError."""
    if text is None or text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise InputError("clusters", repr(text), "a whole number, or auto") from None
