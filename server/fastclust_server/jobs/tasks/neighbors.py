"""Nearest neighbours: of each row of a data set, or of other rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastclust.errors import BackendError, InputError
from fastclust_server.jobs.inputs import check_integer, chosen
from fastclust_server.jobs.tasks.metrics import load_metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.neighbors import NeighborGraph
    from fastclust.v1.spec_pb2 import NeighborsSpec
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["GRAPH", "QUERIES", "STEPS", "check", "run"]

STEPS = {"neighbors": 1.0}

#: Artifact that holds the graph, for the map.
GRAPH = "graph.safetensors"
#: Rows that are searched for, and kept, together.
QUERIES = 2**16
_DEFAULT_NEIGHBORS = 15
#: The graph has no parameter for it, so the choice is checked here.
_BACKENDS = ("auto", "cpu")


def check(spec: NeighborsSpec, inputs: Inputs) -> None:
    """Check a spec."""
    rows, columns = inputs.tensor("dataset", spec.dataset)
    if spec.queries:
        queries = inputs.tensor("queries", spec.queries)
        if queries[1] != columns:
            raise InputError("queries", f"{queries[1]} columns", f"{columns}, the columns of the data set")
        most, why = rows, "the number of rows"
    else:
        most, why = rows - 1, "one less than the number of rows"
    check_integer(spec, "n_neighbors", 1, most, why)
    if not spec.HasField("n_neighbors") and most < _DEFAULT_NEIGHBORS:
        raise InputError("n_neighbors", f"{_DEFAULT_NEIGHBORS}, the default", f"1..{most}, {why}")
    if spec.HasField("backend") and spec.backend not in _BACKENDS:
        raise BackendError(
            f"backend={spec.backend!r}: this server searches neighbours on the CPU. Allowed: {', '.join(_BACKENDS)}."
        )
    inputs.metric(spec.metric, columns)


def run(spec: NeighborsSpec, work: Work) -> None:
    """Leave ``indices`` (int64 [rows, k]) and ``distances`` ([rows, k], ascending).

    Queries are answered in blocks, and so is the graph of the data set's own rows; each block is kept for another
    attempt, which makes the index anew. "nndescent" has no blocks. The exact graph, asked for by name, is computed on
    the operator's cluster if there is one.
    """
    from fastclust.neighbors import NeighborIndex, knn_graph

    arguments = chosen(spec, "index")
    if spec.HasField("metric"):
        arguments["metric"] = load_metric(spec.metric, work)
    wanted = chosen(spec, "n_neighbors")
    rows = work.array(spec.dataset)
    if spec.queries:
        index = NeighborIndex(**arguments).fit(rows)
        asked = work.array(spec.queries)

        def search(block: slice) -> dict[str, NDArray[Any]]:
            distances, indices = index.kneighbors(asked[block], **wanted)
            return {"indices": indices, "distances": distances}

        for key, found in work.in_blocks("neighbors", len(asked), QUERIES, search).items():
            work.tensor(key, found)
        work.note(engine="local", index=index.index_)
        return
    # On a cluster neighbours are exact; "auto" takes an inverted file, here, where that would take long.
    there = arguments.get("index") == "exact" and work.cluster is not None
    if there:
        graph = _on_cluster(spec, work, wanted | arguments)
    else:
        graph = knn_graph(rows, **wanted, **arguments, checkpoint=work.graph_parts)
    work.tensor("indices", graph.indices)
    work.tensor("distances", graph.distances)
    path = work.new_file(GRAPH)
    graph.save(path)
    work.written(path)
    work.metric(recall=graph.recall)
    work.note(engine="ray" if there else "local", index=graph.index_)


def _on_cluster(spec: NeighborsSpec, work: Work, asked: dict[str, Any]) -> NeighborGraph:
    """The exact graph, whose blocks are kept for another attempt."""
    from fastclust import distributed
    from fastclust.data import open_rows
    from fastclust.neighbors import NeighborGraph

    metric = asked.get("metric", "euclidean")
    given = {name: value for name, value in asked.items() if name != "index"}
    folder = work.folder / "neighbors"
    distributed.kneighbors_to(work.path(spec.dataset), folder, **given, **(work.cluster or {}))
    indices, distances = (open_rows(folder, columns=[name]).read() for name in ("indices", "distances"))
    name = metric if isinstance(metric, str) else "mahalanobis"
    return NeighborGraph(indices, distances, metric=name, index="exact", recall=1.0)
