"""t-SNE maps. The state of one stays from attempt to attempt, so that iterations are not done again."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from fastclust.errors import InputError, NotFoundError, UnsupportedError
from fastclust.v1 import spec_pb2
from fastclust_server.jobs.inputs import check_integer, check_number, chosen
from fastclust_server.jobs.tasks.metrics import load_metric
from fastclust_server.jobs.tasks.neighbors import GRAPH

if TYPE_CHECKING:
    from fastclust.neighbors import NeighborGraph
    from fastclust.v1.spec_pb2 import TsneSpec
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["STEPS", "check", "run", "steps"]

STEPS = {"neighbors": 0.15, "tsne": 0.85}

_DEFAULT_PERPLEXITY = 30.0
#: Fields that the library's TSNE does not take in this version.
_LATER = ("dof",)
_CHECKPOINT = "tsne.safetensors"


def steps(spec: TsneSpec) -> dict[str, float]:
    """Neighbours, unless another job found them, then the map."""
    return {"tsne": 1.0} if spec.WhichOneof("input") == "graph" else STEPS


def check(spec: TsneSpec, inputs: Inputs) -> None:
    """Check a spec."""
    for field in chosen(spec, *_LATER):
        raise UnsupportedError(f"{field}: this version of the server does not take it; leave it out.")
    if spec.WhichOneof("input") == "graph":
        job = inputs.job("graph", spec.graph, "neighbors")
        if not inputs.job_tensor(job, GRAPH):
            raise InputError("graph", "a neighbors job with queries", "one without: neighbours of the data set's rows")
        rows, neighbors = inputs.job_tensor(job, "indices")
        columns = None
    else:
        rows, columns = inputs.tensor("dataset", spec.dataset)
        neighbors = rows - 1
    _check_perplexity(spec, rows, neighbors)
    check_integer(spec, "n_components", 1, 3)
    check_integer(spec, "max_iter", 0)
    for field in ("early_exaggeration", "exaggeration", "learning_rate"):
        check_number(spec, field, 0.0)
    if spec.WhichOneof("start") == "initialization_dataset":
        components = spec.n_components if spec.HasField("n_components") else 2
        inputs.exactly("initialization", spec.initialization_dataset, (rows, components), "a place a row")
    if columns is not None:
        inputs.metric(spec.metric, columns)


def _check_perplexity(spec: TsneSpec, rows: int, neighbors: int) -> None:
    largest = max(spec.perplexity, default=_DEFAULT_PERPLEXITY)
    given = spec.n_neighbors if spec.HasField("n_neighbors") else None
    check_integer(spec, "n_neighbors", 1, neighbors)
    most = (rows - 1) / 3 if given is None else given
    for perplexity in spec.perplexity or [_DEFAULT_PERPLEXITY]:
        if not (math.isfinite(perplexity) and 1 <= perplexity <= most):
            allowed = f"1..{most:.4g}, " + ("a third of the other rows" if given is None else "n_neighbors")
            advice = "" if most >= 1 else "A map needs at least 4 rows."
            raise InputError("perplexity", f"{perplexity:g}", allowed, advice)
    if given is None and neighbors < int(3 * largest):
        raise InputError("graph", f"{neighbors} neighbours a row", f"at least {int(3 * largest)}, 3 x perplexity")


def run(spec: TsneSpec, work: Work) -> None:
    """Leave ``embedding`` ([n, n_components])."""
    from fastclust.maps import TSNE

    arguments = chosen(
        spec,
        "n_components",
        "early_exaggeration",
        "max_iter",
        "learning_rate",
        "neighbors",
        "backend",
        "random_state",
        late_exaggeration="exaggeration",
        k_neighbors="n_neighbors",
    )
    if spec.perplexity:
        arguments["perplexity"] = list(spec.perplexity) if len(spec.perplexity) > 1 else spec.perplexity[0]
    # Another attempt must begin as this one did.
    arguments.setdefault("random_state", 0)
    if arguments.get("backend") != "opentsne":
        arguments["checkpoint"] = work.folder / _CHECKPOINT
    start = spec.WhichOneof("start")
    if start is not None:
        given = spec.initialization if start == "initialization" else work.array(spec.initialization_dataset)
        arguments["initialization"] = given
    if spec.HasField("metric"):
        arguments["metric"] = load_metric(spec.metric, work)
    model = TSNE(**arguments).fit(_graph(spec.graph, work) if spec.graph else work.array(spec.dataset))
    work.tensor("embedding", model.embedding_)
    work.metric(kl_divergence=model.kl_divergence_, n_iter=model.n_iter_)
    work.note(backend=model.backend_, initialization=model.initialization_, resumed_from=model.resumed_from_ or None)


def _graph(job: str, work: Work) -> NeighborGraph:
    """Load a job's graph, with its rows as long as they are there: the map then starts from their PCA."""
    from fastclust.neighbors import NeighborGraph

    graph = NeighborGraph.load(work.artifact(job, GRAPH))
    searched = spec_pb2.JobSpec.FromString(work.job(job).spec).neighbors
    if not searched.queries:
        with suppress(NotFoundError):
            graph.source = work.array(searched.dataset)
    return graph
