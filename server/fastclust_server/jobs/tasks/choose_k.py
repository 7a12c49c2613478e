"""The choice of a number of clusters: a curve of silhouettes and stability, and the k that it speaks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError
from fastclust_server.jobs.inputs import check_integer, chosen
from fastclust_server.jobs.tasks.finished import check_finished, load_finished
from fastclust_server.jobs.tasks.metrics import load_metric

if TYPE_CHECKING:
    from fastclust.v1.spec_pb2 import ChooseKSpec
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["STEPS", "check", "run"]

STEPS = {"choose_k": 1.0}

_LEAST_ROWS = 4
#: Of the library.
_DEFAULT_ROWS, _LEAST_DRAWN = 10_000, 8


def check(spec: ChooseKSpec, inputs: Inputs) -> None:
    """Check a spec."""
    which = spec.WhichOneof("input")
    if which is None:
        raise InputError("input", "nothing", "dataset or job")
    if which == "job":
        rows, _, _ = check_finished(spec.job, inputs, "pipeline", "kmeans", "train", "embed")
        if spec.HasField("metric"):
            fix = "Leave it out: rows of a job are looked at in the metric of its clusters."
            raise InputError("metric", spec.metric.name or spec.metric.model, "nothing with a job", fix)
    else:
        rows, columns = inputs.tensor("dataset", spec.dataset)
        inputs.metric(spec.metric, columns)
    if rows < _LEAST_ROWS:
        raise InputError(which, f"{rows} rows", f"at least {_LEAST_ROWS} rows")
    check_integer(spec, "max_rows", _LEAST_DRAWN)
    used = min(rows, spec.max_rows if spec.HasField("max_rows") else _DEFAULT_ROWS)
    for k in spec.ks:
        if not 2 <= k <= used // 2:
            raise InputError("ks", k, f"2..{used // 2}, half of the {used} rows that are used")


def run(spec: ChooseKSpec, work: Work) -> None:
    """Leave the curve and the choice.

    Tensors of one value a number tried: ``ks`` (int64 [m], rising), ``silhouette``, ``calinski_harabasz``,
    ``stability`` and ``inertia`` (float64 [m]); the metric ``k`` is the number chosen. Another attempt begins again.
    """
    from fastclust.insight import choose_k

    arguments: dict[str, Any] = chosen(spec, "max_rows", "random_state")
    if spec.ks:
        arguments["ks"] = list(spec.ks)
    rows: Any
    if spec.WhichOneof("input") == "job":
        found = load_finished(spec.job, work)
        rows, arguments["metric"] = found.rows, found.metric
    else:
        rows = work.rows(spec.dataset)
        if spec.HasField("metric"):
            arguments["metric"] = load_metric(spec.metric, work)
    choice = choose_k(rows, **arguments)
    work.tensor("ks", np.array([point.k for point in choice.curve], np.int64))
    for name in ("silhouette", "calinski_harabasz", "stability", "inertia"):
        work.tensor(name, np.array([getattr(point, name) for point in choice.curve], np.float64))
    work.metric(k=choice.k)
