"""What to do about clusters: near-duplicates, rows that fit nowhere, rows that stand for their cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError, UnsupportedError
from fastclust_server.jobs.inputs import check_integer, check_number, chosen
from fastclust_server.jobs.tasks.finished import check_finished, load_finished

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.v1.spec_pb2 import InsightSpec
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.tasks.finished import Finished
    from fastclust_server.jobs.work import Work

__all__ = ["STEPS", "check", "run", "steps"]

STEPS = {"near_duplicates": 0.6, "outliers": 0.3, "representatives": 0.1}

_NEIGHBORS = 15
#: Places for representatives, most of which may be empty: 128 MiB. Each cluster may have a few in any case.
_MOST_PLACES = 2**24
_FEW = 4


def steps(spec: InsightSpec) -> dict[str, float]:
    """The analyses that are asked for."""
    return {analysis: STEPS[analysis] for analysis in _asked(spec)}


def check(spec: InsightSpec, inputs: Inputs) -> None:
    """Check a spec."""
    rows, clusters, _ = check_finished(spec.job, inputs, "pipeline", "kmeans")
    if not clusters:
        raise InputError("job", f"{spec.job}, which made no clusters", "a job with clusters")
    given = {"choose_k": spec.HasField("clusters"), "propagate_labels": bool(spec.labels)}
    for analysis, fields in given.items():
        if analysis in spec.analyses or fields:
            raise UnsupportedError(f"{analysis} is a job of its own; an insight job does {', '.join(STEPS)}.")
    for analysis in spec.analyses:
        if analysis not in STEPS:
            raise InputError("analyses", repr(analysis[:100]), ", ".join(STEPS))
    asked = _asked(spec)
    belongs = {"duplicate_threshold": "near_duplicates", "per_cluster": "representatives"}
    for field, value in chosen(spec, *belongs).items():
        if belongs[field] not in asked:
            raise InputError(field, value, f"nothing, or {belongs[field]} among the analyses")
    check_number(spec, "duplicate_threshold", 0.0, equal=True)
    most = min(rows, max(_FEW, _MOST_PLACES // clusters))
    check_integer(spec, "per_cluster", 1, most, f"for {rows} rows in {clusters} clusters")
    if rows < 3:
        raise InputError("job", f"{rows} rows", "at least 3")


def run(spec: InsightSpec, work: Work) -> None:
    """Leave what the analyses that are asked for find.

    near_duplicates: ``duplicate_rows`` and ``duplicate_groups`` (int64 [m]): rows, and the number of each one's group,
    the largest group first; outliers: ``outlier_scores`` and ``outlier_p_values`` (float64 [n]); representatives:
    ``representatives`` (int64 [k, per_cluster], -1 where a cluster has fewer rows). An analysis that another attempt
    ended is not done again.
    """
    found = load_finished(spec.job, work)
    for analysis in _asked(spec):
        tensors = work.once(analysis, lambda analysis=analysis: _RUN[analysis](found, spec, work))  # type: ignore[misc]
        for key, array in tensors.items():
            work.tensor(key, array)
        if analysis == "near_duplicates":
            groups = tensors["duplicate_groups"]
            work.metric(duplicate_groups=int(groups.max()) + 1 if len(groups) else 0, duplicate_rows=len(groups))


def _asked(spec: InsightSpec) -> list[str]:
    return [analysis for analysis in STEPS if not spec.analyses or analysis in spec.analyses]


class _Clustering:
    """What the library's analyses ask of a fitted model."""

    def __init__(self, labels: NDArray[Any], centers: NDArray[Any] | None = None) -> None:
        self.labels_ = labels
        self.cluster_centers_ = centers


def _near_duplicates(found: Finished, spec: InsightSpec, work: Work) -> dict[str, NDArray[Any]]:
    from fastclust.insight import near_duplicates
    from fastclust.neighbors import knn_graph

    k = min(_NEIGHBORS, len(found.rows) - 1)
    graph = knn_graph(found.rows, n_neighbors=k, metric=found.metric, checkpoint=work.graph_parts)
    groups = near_duplicates(graph, **chosen(spec, threshold="duplicate_threshold"))
    rows = np.concatenate(groups) if groups else np.empty(0, np.int64)
    numbers = np.repeat(np.arange(len(groups), dtype=np.int64), [len(group) for group in groups])
    return {"duplicate_rows": rows.astype(np.int64), "duplicate_groups": numbers}


def _outliers(found: Finished, _spec: InsightSpec, _work: Work) -> dict[str, NDArray[Any]]:
    from fastclust.insight import outliers

    assert found.labels is not None  # checked before the job was accepted
    scores, p_values = outliers(found.rows, _Clustering(found.labels))
    return {"outlier_scores": scores, "outlier_p_values": p_values}


def _representatives(found: Finished, spec: InsightSpec, _work: Work) -> dict[str, NDArray[Any]]:
    from fastclust.insight import representatives

    assert found.labels is not None  # checked before the job was accepted
    model = _Clustering(found.labels, found.centers)
    return {"representatives": representatives(found.rows, model, **chosen(spec, "per_cluster"))}


_RUN = {"near_duplicates": _near_duplicates, "outliers": _outliers, "representatives": _representatives}
