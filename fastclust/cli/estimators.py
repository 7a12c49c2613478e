"""``fastclust neighbors | tsne | mahalanobis | train | embed``: one estimator, here or on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastclust.artifacts import save_array
from fastclust.cli.engines import Address, Device, Engine, Workers, check_device, cluster_of, trainer_of
from fastclust.cli.few import neighbors_for, perplexity_for
from fastclust.cli.output import displaying
from fastclust.cli.remote import connect, finish, send
from fastclust.cli.run import Index, Json, Out, Server, Source
from fastclust.cli.sources import Columns, DatasetName, Memory, Sources, large_files, open_files
from fastclust.cli.timeleft import StepPace
from fastclust.cli.verbs import Metric, Neighbors, Seed, do, one_of, tell, write_parts
from fastclust.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust.client import Client, Dataset, Job
    from fastclust.data import RowSource

__all__ = ["embed", "mahalanobis", "neighbors", "train", "tsne"]


def neighbors(
    source: Sources,
    out: Out,
    *,
    k: Neighbors = None,
    metric: Metric = "euclidean",
    index: Index = "auto",
    columns: Columns = None,
    dataset: DatasetName = None,
    memory: Memory = None,
    engine: Engine = "local",
    address: Address = None,
    workers: Workers = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Find the nearest neighbours of every row: indices.npy, distances.npy, or neighbors/*.parquet for large files."""
    params: dict[str, Any] = {"metric": metric, "index": index}
    on = cluster_of(engine, address, workers, server)
    if on is not None:
        if index not in ("auto", "exact"):
            raise InputError(
                "index", f"{index!r}, with --engine ray", "auto or exact: on a cluster neighbours are exact"
            )

        def far(rows: RowSource) -> tuple[list[Path], dict[str, Any]]:
            from fastclust import distributed

            wanted = neighbors_for(k, len(rows), quiet=json)
            found = distributed.kneighbors_to(rows, out / "neighbors", wanted, metric=metric, memory=memory, **on)
            return found, {"index": "exact", "engine": "ray"}

        write_parts(_far_rows(source, columns, dataset), out, json, far)
        return
    large = None if server is not None else large_files(source, columns, dataset, memory)
    if large is not None:

        def parts(rows: RowSource) -> tuple[list[Path], dict[str, Any]]:
            from fastclust.neighbors import NeighborIndex

            found = NeighborIndex(metric, index).fit(rows)
            wanted = neighbors_for(k, len(rows), quiet=json)
            return found.kneighbors_to(None, out / "neighbors", wanted), {"index": found.index_}

        write_parts(large, out, json, parts)
        return

    def here(rows: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        from fastclust.neighbors import knn_graph

        graph = knn_graph(rows, neighbors_for(k, len(rows), quiet=json), **params)
        graph.save(out / "graph.safetensors")
        return {"indices": graph.indices, "distances": graph.distances}, {"recall": graph.recall, "index": graph.index_}

    def there(client: Client, data: Dataset) -> Job:
        return client.neighbors(data, n_neighbors=neighbors_for(k, data.n_rows, quiet=json), **params)

    do(one_of(source), out, server, json, here, there)


def tsne(
    source: Source,
    out: Out,
    *,
    perplexity: Annotated[float | None, typer.Option(help="Effective neighbours; 30, or a third of few rows.")] = None,
    max_iter: Annotated[int, typer.Option(help="Iterations, the 250 early ones included.")] = 750,
    components: Annotated[int, typer.Option(help="Dimensions of the map: 1, 2 or 3.")] = 2,
    metric: Metric = "euclidean",
    index: Index = "auto",
    backend: Annotated[str, typer.Option(help="auto, cpu, gpu or opentsne.")] = "auto",
    seed: Seed = 0,
    server: Server = None,
    json: Json = False,
) -> None:
    """Draw a t-SNE map of rows: embedding.npy. What was interrupted goes on when the same command is given again."""
    params: dict[str, Any] = {
        "n_components": components,
        "backend": backend,
        "max_iter": max_iter,
        "metric": metric,
        "neighbors": index,
        "random_state": seed,
    }

    def here(rows: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        from fastclust.maps import TSNE

        # openTSNE's optimiser has no state that could be kept.
        state = None if backend == "opentsne" else out / "tsne.state"
        model = TSNE(**params, **perplexity_for(perplexity, len(rows), quiet=json), checkpoint=state).fit(rows)
        if state is not None:
            state.unlink()
        notes = {"kl_divergence": model.kl_divergence_, "backend": model.backend_}
        return {"embedding": model.embedding_}, notes | {"resumed_from": model.resumed_from_}

    def there(client: Client, data: Dataset) -> Job:
        return client.tsne(data, **params, **perplexity_for(perplexity, data.n_rows, quiet=json))

    do(source, out, server, json, here, there)


def mahalanobis(
    source: Sources,
    out: Out,
    *,
    estimator: Annotated[str, typer.Option(help="empirical or ledoit_wolf.")] = "empirical",
    columns: Columns = None,
    dataset: DatasetName = None,
    memory: Memory = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Fit a Mahalanobis metric: metric.safetensors, mahalanobis_matrix.npy, components.npy."""
    large = None if server is not None else large_files(source, columns, dataset, memory)

    def here(rows: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        from fastclust.metric import MahalanobisMetric

        metric = MahalanobisMetric(estimator).fit(rows)
        out.mkdir(parents=True, exist_ok=True)
        metric.save(out / "metric.safetensors")
        arrays = {"components": metric.components_, "mahalanobis_matrix": metric.get_mahalanobis_matrix()}
        return arrays, {"rank": metric.rank_}

    if large is not None:

        def parts(rows: RowSource) -> tuple[list[Path], dict[str, Any]]:
            arrays, notes = here(rows)
            for name, array in arrays.items():
                save_array(out / f"{name}.npy", array)
            return [out / "metric.safetensors", *(out / f"{name}.npy" for name in arrays)], notes

        write_parts(large, out, json, parts)
        return
    do(one_of(source), out, server, json, here, lambda client, data: client.mahalanobis(data, estimator=estimator))


def train(
    source: Source,
    out: Out,
    *,
    labels: Annotated[str | None, typer.Option(help="Labels to fine-tune with: .npy or CSV id,label.")] = None,
    embedding_dim: Annotated[int | None, typer.Option(help="Columns of the embedding; 128.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    engine: Engine = "local",
    address: Address = None,
    workers: Workers = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Learn an embedding without labels, and fine-tune it with those given: learner.safetensors, embedding.npy."""
    on = cluster_of(engine, address, workers, server)
    check_device(device, on, server)
    if server is None:
        from fastclust import progress
        from fastclust.pipeline import run as run_here

        params = {"embedding_dim": embedding_dim, "epochs": epochs, "random_state": seed, "device": device}
        told = StepPace()
        with displaying(quiet=json) as display, progress.listening(lambda one: told.show(display, one)):
            done = run_here(source, out, train_labels=labels, steps=["learn"], trainer=trainer_of(on), **params)
        tell(out, json, {"steps": done.steps}, ["embedding.npy", "learner.safetensors"])
        return
    with connect(server) as client:
        data, known = send(client, source, labels)
        given = {"labels": known} if labels and known else {}
        job = client.train(data, embedding_dim=embedding_dim, epochs=epochs, random_state=seed, **given)
        result, paths = finish(job, out, quiet=json)
    tell(out, json, {**result.metrics, **result.notes}, [path.name for path in paths])


def embed(
    source: Sources,
    out: Out,
    *,
    model: Annotated[str, typer.Option(help="learner.safetensors; with --server, the name of a finished job.")],
    columns: Columns = None,
    dataset: DatasetName = None,
    memory: Memory = None,
    device: Device = "auto",
    engine: Engine = "local",
    address: Address = None,
    workers: Workers = None,
    server: Server = None,
    json: Json = False,
) -> None:
    """Map rows or images through a learned model: embedding.npy, or embedding/*.parquet for large files."""
    on = cluster_of(engine, address, workers, server)
    check_device(device, on, server)
    if on is not None:

        def far(rows: RowSource) -> tuple[list[Path], dict[str, Any]]:
            from fastclust import distributed
            from fastclust.learning import SelfTaughtLearner

            learner = SelfTaughtLearner.load(model)
            return distributed.transform_to(learner, rows, out / "embedding", **on), {"model": model, "engine": "ray"}

        write_parts(_far_rows(source, columns, dataset, memory), out, json, far)
        return
    large = None if server is not None else large_files(source, columns, dataset, memory)
    if large is not None:

        def parts(rows: RowSource) -> tuple[list[Path], dict[str, Any]]:
            from fastclust.learning import SelfTaughtLearner

            return SelfTaughtLearner.load(model, device=device).transform_to(rows, out / "embedding"), {"model": model}

        write_parts(large, out, json, parts)
        return

    def here(rows: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        from fastclust.learning import SelfTaughtLearner

        return {"embedding": SelfTaughtLearner.load(model, device=device).transform(rows)}, {"model": model}

    do(one_of(source), out, server, json, here, lambda client, data: client.embed(data, model), features=True)


def _far_rows(source: list[str], columns: str | None, dataset: str | None, memory: str | None = None) -> RowSource:
    """Open files of rows for a cluster, whose nodes read them. Raises InputError for what is none, and as they do."""
    rows = open_files(source, columns, dataset, memory)
    if rows is None:
        raise InputError("source", source[0], "files of rows, with --engine ray")
    return rows
