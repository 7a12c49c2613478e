"""``fastclust kmeans | neighbors | tsne | mahalanobis | train | embed``: one estimator, here or on a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastclust.cli.output import displaying, print_json, say
from fastclust.cli.remote import connect, finish, send
from fastclust.cli.run import Index, Json, Out, Server, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastclust.client import Client, Dataset, Job

__all__ = ["embed", "kmeans", "mahalanobis", "neighbors", "train", "tsne"]

Metric = Annotated[str, typer.Option(help="euclidean, cosine or inner_product.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]


def kmeans(
    source: Source,
    out: Out,
    *,
    clusters: Annotated[int, typer.Option("--clusters", "-k", help="Number of clusters.")] = 8,
    max_iter: Annotated[int, typer.Option(help="Most iterations.")] = 300,
    init: Annotated[str, typer.Option(help="k-means++ or random.")] = "k-means++",
    metric: Metric = "euclidean",
    seed: Seed = 0,
    server: Server = None,
    json: Json = False,
) -> None:
    """Cluster rows: labels.npy, cluster_centers.npy."""
    params: dict[str, Any] = {
        "n_clusters": clusters,
        "max_iter": max_iter,
        "init": init,
        "metric": metric,
        "random_state": seed,
    }

    def here(rows: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        from fastclust.cluster import KMeans

        model = KMeans(**params).fit(rows)
        model.save(out / "kmeans.safetensors")
        arrays = {"labels": model.labels_, "cluster_centers": model.cluster_centers_}
        return arrays, {"inertia": model.inertia_, "n_iter": model.n_iter_, "backend": model.backend_}

    _do(source, out, server, json, here, lambda client, data: client.kmeans(data, **params))


def neighbors(
    source: Source,
    out: Out,
    *,
    k: Annotated[int, typer.Option("--neighbors", "-k", help="Neighbours a row.")] = 15,
    metric: Metric = "euclidean",
    index: Index = "auto",
    server: Server = None,
    json: Json = False,
) -> None:
    """Find the nearest neighbours of every row: indices.npy, distances.npy."""
    params: dict[str, Any] = {"n_neighbors": k, "metric": metric, "index": index}

    def here(rows: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        from fastclust.neighbors import knn_graph

        graph = knn_graph(rows, **params)
        graph.save(out / "graph.safetensors")
        return {"indices": graph.indices, "distances": graph.distances}, {"recall": graph.recall, "index": graph.index_}

    _do(source, out, server, json, here, lambda client, data: client.neighbors(data, **params))


def tsne(
    source: Source,
    out: Out,
    *,
    perplexity: Annotated[float, typer.Option(help="Effective neighbours.")] = 30.0,
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
        "perplexity": perplexity,
        "max_iter": max_iter,
        "metric": metric,
        "neighbors": index,
        "random_state": seed,
    }

    def here(rows: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        from fastclust.maps import TSNE

        # openTSNE's optimiser has no state that could be kept.
        state = None if backend == "opentsne" else out / "tsne.state"
        model = TSNE(**params, checkpoint=state).fit(rows)
        if state is not None:
            state.unlink()
        notes = {"kl_divergence": model.kl_divergence_, "backend": model.backend_}
        return {"embedding": model.embedding_}, notes | {"resumed_from": model.resumed_from_}

    _do(source, out, server, json, here, lambda client, data: client.tsne(data, **params))


def mahalanobis(
    source: Source,
    out: Out,
    *,
    estimator: Annotated[str, typer.Option(help="empirical or ledoit_wolf.")] = "empirical",
    server: Server = None,
    json: Json = False,
) -> None:
    """Fit a Mahalanobis metric: metric.safetensors, mahalanobis_matrix.npy, components.npy."""

    def here(rows: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        from fastclust.metric import MahalanobisMetric

        metric = MahalanobisMetric(estimator).fit(rows)
        metric.save(out / "metric.safetensors")
        arrays = {"components": metric.components_, "mahalanobis_matrix": metric.get_mahalanobis_matrix()}
        return arrays, {"rank": metric.rank_}

    _do(source, out, server, json, here, lambda client, data: client.mahalanobis(data, estimator=estimator))


def train(
    source: Source,
    out: Out,
    *,
    labels: Annotated[str | None, typer.Option(help="Labels to fine-tune with: .npy or CSV id,label.")] = None,
    embedding_dim: Annotated[int, typer.Option(help="Columns of the embedding.")] = 128,
    epochs: Annotated[int | None, typer.Option(help="Epochs.")] = None,
    seed: Seed = 0,
    server: Server = None,
    json: Json = False,
) -> None:
    """Learn an embedding without labels, and fine-tune it with those given: learner.safetensors, embedding.npy."""
    if server is None:
        from fastclust import progress
        from fastclust.pipeline import run as run_here

        params = {"embedding_dim": embedding_dim, "epochs": epochs, "random_state": seed}
        with displaying(quiet=json) as display, progress.listening(display.listen):
            done = run_here(source, out, train_labels=labels, steps=["learn"], **params)
        _tell(out, json, {"steps": done.steps}, ["embedding.npy", "learner.safetensors"])
        return
    with connect(server) as client:
        data, known = send(client, source, labels)
        given = {"labels": known} if labels and known else {}
        job = client.train(data, embedding_dim=embedding_dim, epochs=epochs, random_state=seed, **given)
        result, paths = finish(job, out, quiet=json)
    _tell(out, json, {**result.metrics, **result.notes}, [path.name for path in paths])


def embed(
    source: Source,
    out: Out,
    *,
    model: Annotated[str, typer.Option(help="learner.safetensors; with --server, the name of a finished job.")],
    server: Server = None,
    json: Json = False,
) -> None:
    """Map rows or images through a learned model: embedding.npy."""

    def here(rows: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        from fastclust.learning import SelfTaughtLearner

        return {"embedding": SelfTaughtLearner.load(model).transform(rows)}, {"model": model}

    _do(source, out, server, json, here, lambda client, data: client.embed(data, model), features=True)


def _do(
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
        _tell(out, json, {**result.metrics, **result.notes}, [path.name for path in paths])
        return
    from fastclust import progress
    from fastclust.artifacts import save_array

    with displaying(quiet=json) as display, progress.listening(display.listen):
        rows = _rows(source, features=features)
        out.mkdir(parents=True, exist_ok=True)
        arrays, notes = here(rows)
    for name, array in arrays.items():
        save_array(out / f"{name}.npy", array)
    _tell(out, json, notes, [f"{name}.npy" for name in arrays])


def _rows(source: str, *, features: bool) -> NDArray[Any]:
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


def _tell(out: Path, json: bool, notes: dict[str, Any], files: list[str]) -> None:
    if json:
        print_json({"out": str(out), "files": files, **notes})
        return
    for name, value in notes.items():
        if not isinstance(value, list):
            say(f"{name}: {value}")
    say(f"wrote {', '.join(files)} in {out}")
