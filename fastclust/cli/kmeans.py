"""``fastclust kmeans``: clusters of files that may be larger than memory, of images, or on a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastclust.cli.engines import Address, Engine, Workers, cluster_of
from fastclust.cli.few import clusters_for
from fastclust.cli.output import displaying
from fastclust.cli.run import Json, Out, Server
from fastclust.cli.sources import Columns, DatasetName, Memory, Sources, open_files
from fastclust.cli.timeleft import KMeansDisplay
from fastclust.cli.verbs import Metric, Seed, counted, do, one_of, tell
from fastclust.errors import InputError, OperationCancelledError, PreconditionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.client import Client, Dataset, Job
    from fastclust.cluster import KMeans
    from fastclust.data import RowSource

__all__ = ["kmeans"]

#: Rows x columns x clusters from which on an iteration takes longer than to keep it.
_LONG = 10**10
_MODEL, _ABOUT, _STATE, _LABELS = "kmeans.safetensors", "kmeans.json", "kmeans.state", "labels"


def kmeans(
    source: Sources,
    out: Out,
    *,
    clusters: Annotated[
        int | None, typer.Option("--clusters", "-k", help="Number of clusters; 8, or half as many as few rows.")
    ] = None,
    max_iter: Annotated[int, typer.Option(help="Most iterations.")] = 300,
    init: Annotated[str, typer.Option(help="auto, k-means++, k-means|| or random.")] = "auto",
    metric: Metric = "euclidean",
    seed: Seed = 0,
    columns: Columns = None,
    dataset: DatasetName = None,
    memory: Memory = None,
    engine: Engine = "local",
    address: Address = None,
    workers: Workers = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Cluster rows: cluster_centers.npy, labels.npy where they fit in memory, labels/*.parquet where they are in files.

    What was stopped or killed goes on when the same command is given again.
    """
    params: dict[str, Any] = {
        "max_iter": max_iter,
        "init": init,
        "metric": metric,
        "random_state": seed,
    }
    on = cluster_of(engine, address, workers, server)
    rows = None if server is not None else open_files(source, columns, dataset, memory if on is None else None)
    if rows is not None:
        if on is not None:
            on["memory"] = memory
        params["n_clusters"] = clusters_for(clusters, len(rows), quiet=json)
        _files(rows, out, params, on, json=json)
        return
    if on is not None:
        raise InputError("source", source[0], "files of rows, with --engine ray")

    def here(rows: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        from fastclust.cluster import KMeans

        model = KMeans(clusters_for(clusters, len(rows), quiet=json), **params).fit(rows)
        model.save(out / _MODEL)
        return {"labels": model.labels_, "cluster_centers": model.cluster_centers_}, _notes(model)

    def there(client: Client, data: Dataset) -> Job:
        return client.kmeans(data, n_clusters=clusters_for(clusters, data.n_rows, quiet=json), **params)

    do(one_of(source), out, server, json, here, there)


def _files(source: RowSource, out: Path, params: dict[str, Any], on: dict[str, Any] | None, *, json: bool) -> None:
    """Fit, unless an earlier attempt came that far, and write what is missing of the labels."""
    from fastclust import distributed, progress
    from fastclust.artifacts import load_array, load_json, save_array, save_json
    from fastclust.cluster import KMeans
    from fastclust.cluster.checkpoint import fingerprint
    from fastclust.data.limits import is_streamed

    asked = KMeans(**params) if on is None else distributed.KMeans(**params, **on)
    about = fingerprint(source, None, asked.get_params(deep=False))
    state = out / _STATE
    with displaying(quiet=json) as display:
        told = KMeansDisplay(display, params["max_iter"] * (10 if params["init"] == "random" else 1))
        try:
            with progress.listening(told.listen):
                known = state / "labels.npy" if is_streamed(source) else out / "labels.npy"
                if (out / _ABOUT).exists():
                    _check_same(load_json(out / _ABOUT).get("about", {}), about, out)
                    model = KMeans.load(out / _MODEL)
                    labels = load_array(known, mmap=True) if known.is_file() else None
                else:
                    n, d = source.shape
                    long = on is not None or n * d * params["n_clusters"] >= _LONG
                    model = asked.fit(source, checkpoint=state if long else None)
                    save_array(out / "cluster_centers.npy", model.cluster_centers_)
                    labels = model.labels_
                    if on is None:
                        # What was written with them is gone on with them.
                        save_array(known, labels)
                    model.save(out / _MODEL, labels=False)
                    save_json(out / _ABOUT, {"about": about, **_notes(model)})
                if on is None:
                    files = model.predict_to(source, out / _LABELS, labels=labels)
                else:
                    there = {"address": on["address"], "n_workers": on["n_workers"]}
                    files = distributed.predict_to(model, source, out / _LABELS, **there)
        except KeyboardInterrupt:
            raise OperationCancelledError(_kept(state, out)) from None
    for file in state.glob("*"):
        file.unlink()
    if state.is_dir():
        state.rmdir()
    names = [str(file.relative_to(out)) for file in files] if json else [f"{counted(len(files))} in {_LABELS}/"]
    tell(out, json, _notes(model), ["cluster_centers.npy", _MODEL, *names])


def _check_same(was: dict[str, str], about: dict[str, str], out: Path) -> None:
    differ = sorted(name for name, said in about.items() if was.get(name) != said)
    if differ:
        raise PreconditionError(
            f"{out}: holds the clusters of other {', '.join(differ)}. Take another folder, or remove it."
        )


def _kept(state: Path, out: Path) -> str:
    from fastclust.cluster.checkpoint import reached

    if (out / _ABOUT).exists():
        return f"the clusters are found, their labels not all written. The same command goes on from there, in {out}."
    at = reached(state)
    if at is None:
        return "nothing is kept yet. The same command begins anew."
    where = f"iteration {at[1]} of run {at[0] + 1}" if at[1] else f"the start of run {at[0] + 1}"
    return f"{where} is kept in {state}. The same command goes on from there; to begin anew, remove it."


def _notes(model: KMeans) -> dict[str, Any]:
    return {"inertia": model.inertia_, "n_iter": model.n_iter_, "backend": model.backend_}
