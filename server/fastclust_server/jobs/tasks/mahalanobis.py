"""Mahalanobis metrics, and distances in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import BackendError, InputError
from fastclust.progress import as_part, report
from fastclust.v1 import spec_pb2
from fastclust_server.jobs.inputs import chosen
from fastclust_server.jobs.tasks.metrics import FILE
from fastclust_server.jobs.tasks.neighbors import QUERIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.metric import MahalanobisMetric
    from fastclust.v1.spec_pb2 import MahalanobisSpec
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["STEPS", "check", "run", "steps"]

STEPS = {"metric": 0.3, "mahalanobis": 0.7}
#: Distances of a block: 64 or 128 MiB, and as much again while it is written.
_PAIRS = 2**24

_FITTED = {None, "estimator"}
_NEIGHBORS = {spec_pb2.MAHALANOBIS_OUTPUT_NEAREST, spec_pb2.MAHALANOBIS_OUTPUT_TOP_K}
_WITH_OTHERS = _NEIGHBORS | {spec_pb2.MAHALANOBIS_OUTPUT_PAIRWISE}
_WITH_DISTANCES = _WITH_OTHERS | {spec_pb2.MAHALANOBIS_OUTPUT_COMPONENTS}


#: Of the library's distances. Whether this machine has what one needs, such as a GPU, only the worker knows.
_BACKENDS = ("auto", "numba", "triton", "reference")
_DEFAULT_NEIGHBORS = 15


def steps(spec: MahalanobisSpec) -> dict[str, float]:
    """The fit, unless the metric is given, and distances, where they are asked for."""
    fits = spec.output != spec_pb2.MAHALANOBIS_OUTPUT_COMPONENTS and spec.WhichOneof("source") in _FITTED
    asked = {"metric": fits, "mahalanobis": spec.output != spec_pb2.MAHALANOBIS_OUTPUT_UNSPECIFIED}
    return {step: share for step, share in STEPS.items() if asked[step]}


def check(spec: MahalanobisSpec, inputs: Inputs) -> None:
    """Check a spec."""
    source = spec.WhichOneof("source")
    if spec.HasField("backend"):
        _check_backend(spec)
    if spec.output == spec_pb2.MAHALANOBIS_OUTPUT_COMPONENTS:
        rows, columns = inputs.tensor("dataset", spec.dataset)
        components = inputs.tensor("means", spec.means)[0]
        inputs.exactly("means", spec.means, (components, columns), "a mean a component")
        inputs.exactly("covariances", spec.covariances, (components, columns, columns), "a covariance a component")
        return
    rows, columns = 0, 0
    if source in _FITTED or spec.output != spec_pb2.MAHALANOBIS_OUTPUT_UNSPECIFIED or spec.dataset:
        rows, columns = inputs.tensor("dataset", spec.dataset)
        if source in _FITTED and rows < 2:
            raise InputError("dataset", f"{rows} row", "at least 2 rows to estimate a covariance from")
    if source in {"covariance", "precision"}:
        shape = inputs.tensor(source, getattr(spec, source))
        wanted = columns or shape[0]
        inputs.exactly(source, getattr(spec, source), (wanted, wanted), "columns by columns")
    elif source == "factor":
        shape = inputs.tensor(source, spec.factor)
        if columns and shape[0] != columns:
            raise InputError("factor", f"shape {list(shape)}", f"[{columns}, r], a line a column")
    _check_others(spec, rows, columns, inputs)


def _check_others(spec: MahalanobisSpec, rows: int, columns: int, inputs: Inputs) -> None:
    if spec.others and spec.output in _WITH_OTHERS:
        others = inputs.tensor("others", spec.others)
        if others[1] != columns:
            raise InputError("others", f"{others[1]} columns", f"{columns}, the columns of the data set")
    if spec.output in _NEIGHBORS:
        most = inputs.tensor("others", spec.others)[0] if spec.others else rows - 1
        k = _neighbors(spec)
        if not 1 <= k <= most:
            raise InputError("n_neighbors", k, f"1..{most}, the rows to look among")


def _check_backend(spec: MahalanobisSpec) -> None:
    if spec.backend not in _BACKENDS:
        raise BackendError(f"backend={spec.backend[:100]!r}: no such backend. Allowed: {', '.join(_BACKENDS)}.")
    if spec.output not in _WITH_DISTANCES:
        came = spec_pb2.MahalanobisOutput.Name(spec.output)
        allowed = ", ".join(spec_pb2.MahalanobisOutput.Name(output) for output in sorted(_WITH_DISTANCES))
        fix = "Leave it out, or ask for distances."
        raise InputError("backend", f"{spec.backend!r} with the output {came}", f"one with an output of {allowed}", fix)


def run(spec: MahalanobisSpec, work: Work) -> None:
    """Leave the metric, and what the output asks for.

    Distances of many rows are computed in blocks, and each is kept for another attempt; the fit, one pass over the
    rows, begins again, and so does a graph of the data set's own rows by a named backend.
    """
    if spec.output == spec_pb2.MAHALANOBIS_OUTPUT_COMPONENTS:
        from fastclust.metric import mahalanobis_to_components

        rows, means, covariances = (work.array(name) for name in (spec.dataset, spec.means, spec.covariances))
        distances = mahalanobis_to_components(rows, means, covariances, squared=spec.squared, **chosen(spec, "backend"))
        work.tensor("distances", distances)
        return
    metric = _metric(spec, work)
    if spec.output != spec_pb2.MAHALANOBIS_OUTPUT_UNSPECIFIED:
        report("mahalanobis", 0, 1)
    work.tensor("components", metric.components_)
    work.tensor("mahalanobis_matrix", metric.get_mahalanobis_matrix())
    path = work.new_file(FILE)
    metric.save(path)
    work.written(path)
    work.metric(rank=metric.rank_)
    _distances(spec, work, metric)


def _metric(spec: MahalanobisSpec, work: Work) -> MahalanobisMetric:
    from fastclust.metric import MahalanobisMetric

    source = spec.WhichOneof("source")
    if source == "covariance":
        return MahalanobisMetric.from_covariance(work.array(spec.covariance))
    if source == "precision":
        return MahalanobisMetric.from_precision(work.array(spec.precision))
    if source == "factor":
        return MahalanobisMetric.from_factor(work.array(spec.factor))
    arguments = {"estimator": spec.estimator} if spec.estimator else {}
    return MahalanobisMetric(**arguments).fit(work.array(spec.dataset))


def _distances(spec: MahalanobisSpec, work: Work, metric: MahalanobisMetric) -> None:
    if spec.output == spec_pb2.MAHALANOBIS_OUTPUT_UNSPECIFIED:
        return
    rows = work.array(spec.dataset)
    others = work.array(spec.others) if spec.others else None
    if spec.output == spec_pb2.MAHALANOBIS_OUTPUT_TRANSFORMED:
        work.tensor("transformed", metric.transform(rows))
    elif spec.output == spec_pb2.MAHALANOBIS_OUTPUT_PAIRWISE:
        columns = rows if others is None else others
        per_block = max(1, _PAIRS // len(columns))

        def pairs(block: slice) -> dict[str, NDArray[Any]]:
            arguments = {"squared": spec.squared} | chosen(spec, "backend")
            if others is None and block == slice(0, len(rows)):
                return {"distances": metric.pairwise(rows, None, **arguments)}
            found = metric.pairwise(rows[block], columns, **arguments)
            if others is None:  # a row has no distance to itself, whatever rounding says
                found[np.arange(len(found)), np.arange(block.start, block.stop)] = 0
            return {"distances": found}

        work.tensor("distances", work.in_blocks("mahalanobis", len(rows), per_block, pairs)["distances"])
    else:
        k = _neighbors(spec)
        if spec.HasField("backend"):
            distances, indices = _nearest_by(spec.backend, metric, rows, others, k, work)
        else:
            distances, indices = _nearest(metric, rows, others, k, work)
        work.tensor("indices", indices)
        work.tensor("distances", distances**2 if spec.squared else distances)


def _neighbors(spec: MahalanobisSpec) -> int:
    if spec.output == spec_pb2.MAHALANOBIS_OUTPUT_NEAREST:
        return 1
    return spec.n_neighbors if spec.HasField("n_neighbors") else _DEFAULT_NEIGHBORS


def _nearest(
    metric: MahalanobisMetric, rows: NDArray[Any], others: NDArray[Any] | None, k: int, work: Work
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distances and indices ``[n, k]``, by whatever index serves so many rows."""
    from fastclust.neighbors import NeighborIndex, knn_graph

    if others is None:
        with as_part("mahalanobis", "neighbors", 0.0, 1.0):
            graph = knn_graph(rows, n_neighbors=k, metric=metric, checkpoint=work.graph_parts)
        return graph.distances, graph.indices
    index = NeighborIndex(metric=metric).fit(others)

    def search(block: slice) -> dict[str, NDArray[Any]]:
        return dict(zip(("distances", "indices"), index.kneighbors(rows[block], k), strict=True))

    found = work.in_blocks("mahalanobis", len(rows), QUERIES, search)
    return found["distances"], found["indices"]


def _nearest_by(
    backend: str, metric: MahalanobisMetric, rows: NDArray[Any], others: NDArray[Any] | None, k: int, work: Work
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The same by one backend, which compares all pairs."""
    if others is None:
        return metric.kneighbors(rows, None, k, backend=backend)  # type: ignore[no-any-return]

    def search(block: slice) -> dict[str, NDArray[Any]]:
        found = metric.kneighbors(rows[block], others, k, backend=backend)
        return dict(zip(("distances", "indices"), found, strict=True))

    found = work.in_blocks("mahalanobis", len(rows), QUERIES, search)
    return found["distances"], found["indices"]
