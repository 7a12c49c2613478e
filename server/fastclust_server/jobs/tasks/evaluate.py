"""Figures of quality: of clusters and an embedding that a job left, or of embeddings in a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError
from fastclust_server.jobs.tasks.finished import (
    Finished,
    check_finished,
    check_labels_of,
    load_finished,
    load_labels_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastclust.v1.spec_pb2 import EvaluateSpec
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["STEPS", "check", "run", "steps"]

#: Measures, with what each needs: the job's clusters, labels from outside.
_NEEDS = {
    "accuracy": ("clusters", "labels"),
    "nmi": ("clusters", "labels"),
    "ari": ("clusters", "labels"),
    "recall_at_1": ("labels",),
    "map_at_r": ("labels",),
    "silhouette": ("groups",),
}
STEPS = {"accuracy": 0.02, "nmi": 0.02, "ari": 0.02, "recall_at_1": 0.35, "map_at_r": 0.35, "silhouette": 0.24}


def steps(spec: EvaluateSpec) -> dict[str, float]:
    """The measures that are asked for; all, of which some may not apply, where none is named."""
    return {measure: STEPS[measure] for measure in dict.fromkeys(spec.measures or STEPS)}


def check(spec: EvaluateSpec, inputs: Inputs) -> None:
    """Check a spec."""
    which = spec.WhichOneof("input")
    if which is None:
        raise InputError("input", "nothing", "job or dataset")
    if which == "job":
        rows, clusters, dataset = check_finished(spec.job, inputs, "pipeline", "kmeans", "train", "embed")
    else:
        rows, clusters, dataset = inputs.tensor("dataset", spec.dataset)[0], 0, spec.dataset
    if rows < 2:
        raise InputError(which, f"{rows} row", "at least 2 rows")
    if spec.labels:
        check_labels_of(spec.labels, dataset, rows, inputs)
    for measure in spec.measures:
        if measure not in _NEEDS:
            raise InputError("measures", repr(measure[:100]), ", ".join(_NEEDS))
        for need in _missing(measure, clusters=clusters > 0, labels=bool(spec.labels)):
            raise InputError("measures", measure, f"measures that do without {need}", f"{measure} needs {need}.")
    if not _measures(spec, clusters=clusters > 0):
        raise InputError("labels", "nothing", "labels, or a job with clusters", "There is nothing to compare with.")


def run(spec: EvaluateSpec, work: Work) -> None:
    """Leave a number for each measure, by its name. A measure that another attempt took is not taken again.

    One that was not asked for by name and cannot be taken (of one cluster, of labels that no two rows share) is left
    out, with a note that says why.
    """
    if spec.WhichOneof("input") == "job":
        found = load_finished(spec.job, work)
    else:
        found = Finished(work.array(spec.dataset), None, spec.dataset)
    truth = load_labels_of(spec.labels, found.dataset, len(found.rows), work) if spec.labels else None
    takers = _takers(found, truth, spec.random_state)
    for measure in _measures(spec, clusters=found.labels is not None):
        take = takers[measure]
        try:
            value = work.once(measure, lambda take=take: {"value": np.array([take()])})["value"]  # type: ignore[misc]
        except InputError as error:
            if measure in spec.measures:
                raise
            work.note(**{measure: f"left out: {error}"})
        else:
            work.metric(**{measure: value[0]})
    work.metric(rows=len(found.rows), labelled_rows=None if truth is None else int((truth >= 0).sum()))


def _takers(found: Finished, truth: NDArray[Any] | None, seed: int) -> dict[str, Callable[[], float]]:
    from fastclust import evaluation

    groups = found.labels if found.labels is not None else truth

    def silhouette() -> float:
        numbers = np.asarray(groups)
        known = numbers >= 0
        several = len(np.unique(numbers[known]))
        if not 2 <= several < known.sum():
            raise InputError("labels", f"{several} groups of {known.sum()} rows", "at least 2 groups, fewer than rows")
        return evaluation.silhouette(found.rows[known], numbers[known], random_state=seed)

    return {
        "accuracy": lambda: evaluation.clustering_accuracy(truth, found.labels),  # type: ignore[arg-type]
        "nmi": lambda: evaluation.normalized_mutual_information(truth, found.labels),  # type: ignore[arg-type]
        "ari": lambda: evaluation.adjusted_rand_index(truth, found.labels),  # type: ignore[arg-type]
        "recall_at_1": lambda: evaluation.recall_at_k(found.rows, truth, 1),  # type: ignore[arg-type]
        "map_at_r": lambda: evaluation.mean_average_precision_at_r(found.rows, truth),  # type: ignore[arg-type]
        "silhouette": silhouette,
    }


def _measures(spec: EvaluateSpec, *, clusters: bool) -> list[str]:
    """Those asked for, or all that apply."""
    asked = list(dict.fromkeys(spec.measures)) or list(_NEEDS)
    return [measure for measure in asked if not _missing(measure, clusters=clusters, labels=bool(spec.labels))]


def _missing(measure: str, *, clusters: bool, labels: bool) -> list[str]:
    there = {"clusters": clusters, "labels": labels, "groups": clusters or labels}
    told = {"clusters": "a job with clusters", "labels": "labels", "groups": "labels, or a job with clusters"}
    return [told[need] for need in _NEEDS[measure] if not there[need]]
