"""Labels of some rows, spread to all rows along a neighbour graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastclust.errors import InputError
from fastclust.v1 import spec_pb2
from fastclust_server.jobs.inputs import check_integer, chosen
from fastclust_server.jobs.tasks.finished import check_labels_of, load_labels_of
from fastclust_server.jobs.tasks.metrics import load_metric
from fastclust_server.jobs.tasks.neighbors import GRAPH

if TYPE_CHECKING:
    from fastclust.neighbors import NeighborGraph
    from fastclust.v1.spec_pb2 import PropagateLabelsSpec
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["STEPS", "check", "run", "steps"]

STEPS = {"neighbors": 0.7, "propagate": 0.3}

#: Of the library.
_DEFAULT_NEIGHBORS = 15


def steps(spec: PropagateLabelsSpec) -> dict[str, float]:
    """Neighbours, unless another job found them, then labels."""
    return {"propagate": 1.0} if spec.WhichOneof("input") == "graph" else STEPS


def check(spec: PropagateLabelsSpec, inputs: Inputs) -> None:
    """Check a spec."""
    which = spec.WhichOneof("input")
    if which is None:
        raise InputError("input", "nothing", "dataset or graph")
    if which == "graph":
        job = inputs.job("graph", spec.graph, "neighbors")
        if not inputs.job_tensor(job, GRAPH):
            raise InputError("graph", "a neighbors job with queries", "one without: neighbours of the data set's rows")
        rows, most = inputs.job_tensor(job, "indices")
        why = "the neighbours that the graph holds"
        searched = spec_pb2.JobSpec.FromString(job.spec).neighbors
        dataset, metric = searched.dataset, searched.metric
        if spec.HasField("metric"):
            fix = "Leave it out: the graph has its own."
            raise InputError("metric", spec.metric.name or spec.metric.model, "nothing with a graph", fix)
    else:
        rows, columns = inputs.tensor("dataset", spec.dataset)
        dataset, metric = spec.dataset, spec.metric
        most, why = rows - 1, "one less than the number of rows"
        inputs.metric(metric, columns)
        if rows < 2:
            raise InputError("dataset", f"{rows} row", "at least 2 rows")
    if metric.name == "inner_product":
        raise InputError(which, "inner products", "distances: euclidean, cosine or a metric")
    check_integer(spec, "n_neighbors", 1, most, why)
    check_labels_of(spec.labels, dataset, rows, inputs)


def run(spec: PropagateLabelsSpec, work: Work) -> None:
    """Leave ``labels`` (int64 [n], -1 where the graph leads to no labelled row) and ``confidence`` (float32 [n]).

    Metrics: ``labelled_rows``, whose labels were given, and ``reached_rows``, which have one now. The graph is kept by
    no attempt: another one begins again.
    """
    from fastclust.insight import propagate_labels

    if spec.WhichOneof("input") == "graph":
        dataset, graph = _searched(spec.graph, work)
    else:
        dataset, graph = spec.dataset, _searched_here(spec, work)
    given = load_labels_of(spec.labels, dataset, graph.n_rows, work)
    found = propagate_labels(graph, given, **chosen(spec, "n_neighbors"))
    work.tensor("labels", found.labels)
    work.tensor("confidence", found.confidence)
    work.metric(labelled_rows=int((given >= 0).sum()), reached_rows=int((found.labels >= 0).sum()))


def _searched(job: str, work: Work) -> tuple[str, NeighborGraph]:
    """Return the data set and the graph of a neighbors job."""
    from fastclust.neighbors import NeighborGraph

    dataset = spec_pb2.JobSpec.FromString(work.job(job).spec).neighbors.dataset
    return dataset, NeighborGraph.load(work.artifact(job, GRAPH))


def _searched_here(spec: PropagateLabelsSpec, work: Work) -> NeighborGraph:
    from fastclust.neighbors import knn_graph

    rows = work.array(spec.dataset)
    wanted = spec.n_neighbors if spec.HasField("n_neighbors") else _DEFAULT_NEIGHBORS
    arguments = {"metric": load_metric(spec.metric, work)} if spec.HasField("metric") else {}
    return knn_graph(rows, n_neighbors=min(wanted, len(rows) - 1), **arguments, checkpoint=work.graph_parts)
