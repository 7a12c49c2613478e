"""``fastclust choose-k | propagate-labels``: how many clusters, and labels of some rows spread to all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastclust.cli.few import neighbors_for
from fastclust.cli.output import say
from fastclust.cli.remote import connect, finish, send
from fastclust.cli.run import Json, Out, Server, Source
from fastclust.cli.verbs import Metric, Neighbors, Seed, do, tell
from fastclust.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["choose_k", "propagate_labels"]


def choose_k(
    source: Source,
    out: Out,
    *,
    ks: Annotated[str, typer.Option("--ks", help='Numbers to try, such as "2-10,20,50".')] = "auto",
    metric: Metric = "euclidean",
    max_rows: Annotated[int, typer.Option(help="Rows that are drawn where there are more.")] = 10_000,
    seed: Seed = 0,
    server: Server = None,
    json: Json = False,
) -> None:
    """Choose a number of clusters: ks.npy, silhouette.npy, stability.npy, calinski_harabasz.npy, inertia.npy."""
    params: dict[str, Any] = {"ks": _numbers(ks), "metric": metric, "max_rows": max_rows, "random_state": seed}

    def here(rows: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        import numpy as np

        from fastclust.insight import choose_k

        choice = choose_k(rows, **params)
        names = ("silhouette", "calinski_harabasz", "stability", "inertia")
        arrays = {name: np.array([getattr(point, name) for point in choice.curve]) for name in names}
        curve = [{"k": point.k, **{name: float(getattr(point, name)) for name in names}} for point in choice.curve]
        if not json:
            say("    k  silhouette  stability")
            for point in choice.curve:
                say(f"{point.k:5d}  {point.silhouette:10.3f}  {point.stability:9.3f}")
        return {"ks": np.array([point.k for point in choice.curve]), **arrays}, {"k": choice.k, "curve": curve}

    do(source, out, server, json, here, lambda client, data: client.choose_k(data, **params))


def propagate_labels(
    source: Source,
    out: Out,
    *,
    labels: Annotated[str, typer.Option(help="Labels of some rows: .npy with -1 where unknown, or CSV id,label.")],
    k: Neighbors = None,
    metric: Metric = "euclidean",
    server: Server = None,
    json: Json = False,
) -> None:
    """Spread labels of some rows to all along their neighbour graph: labels.npy, confidence.npy."""
    if server is not None:
        with connect(server) as client:
            data, known = send(client, source, labels)
            assert known is not None  # labels were given
            wanted = neighbors_for(k, data.n_rows, quiet=json)
            job = client.propagate_labels(data, known, n_neighbors=wanted, metric=metric)
            result, paths = finish(job, out, quiet=json)
        tell(out, json, {**result.metrics, **result.notes}, [path.name for path in paths])
        return

    def here(rows: NDArray[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        from fastclust.data import load_labels
        from fastclust.insight import propagate_labels
        from fastclust.neighbors import knn_graph

        given = load_labels(labels, [str(row) for row in range(len(rows))])
        wanted = neighbors_for(k, len(rows), quiet=json)
        graph = knn_graph(rows, n_neighbors=wanted, metric=metric)
        found = propagate_labels(graph, given, n_neighbors=wanted)
        notes = {"labelled_rows": int((given >= 0).sum()), "reached_rows": int((found.labels >= 0).sum())}
        return {"labels": found.labels, "confidence": found.confidence}, notes

    do(source, out, None, json, here)


def _numbers(text: str) -> list[int] | str:
    """Read numbers and ranges, "2-10,20". Raises InputError."""
    if text == "auto":
        return text
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise InputError("ks", repr(text[:100]), 'auto, or numbers and ranges such as "2-10,20"')
        if int(last or first) < int(first):
            raise InputError("ks", repr(part.strip()), f'a range from the smaller to the larger, "{last}-{first}"')
        found += range(int(first), int(last or first) + 1)
    return found
