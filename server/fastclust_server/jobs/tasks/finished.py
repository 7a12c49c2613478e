"""Rows and clusters of a finished job, as evaluate and insight look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.errors import InputError, NotFoundError, PreconditionError
from fastclust.v1 import common_pb2, spec_pb2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.records import JobRecord
    from fastclust_server.jobs.work import Work

__all__ = ["Finished", "check_finished", "check_labels_of", "load_finished", "load_labels_of"]


class Finished(NamedTuple):
    """What a job left, in the space in which it clustered: there, distances are those of its metric."""

    #: [n, d]: the embedding; of a kmeans job, the rows that it clustered.
    rows: NDArray[Any]
    #: int [n]; None where the job made no clusters.
    labels: NDArray[Any] | None
    #: The data set that the rows are of.
    dataset: str
    #: [k, d], in the same space; None where the job made no clusters.
    centers: NDArray[Any] | None = None
    #: How distances between the rows are told: "cosine" or "euclidean", which is every other metric's in its space.
    metric: str = "euclidean"


def check_finished(name: str, inputs: Inputs, *kinds: str) -> tuple[int, int, str]:
    """Return how many rows a finished job has, how many clusters (0: it made none), and the rows' data set."""
    job = inputs.job("job", name, *kinds)
    dataset = _dataset_of(job)
    if job.kind == "kmeans":
        try:
            inputs.tensor("job", dataset)
        except NotFoundError as error:
            raise PreconditionError(f"job: the data set that {job.name} clustered was deleted.") from error
        return inputs.job_tensor(job, "labels")[0], inputs.job_tensor(job, "cluster_centers")[0], dataset
    shape = inputs.job_tensor(job, "embedding")
    if not shape:
        raise InputError("job", f"{job.name}, which left no embedding", "a job with the step that learns one")
    centers = inputs.job_tensor(job, "cluster_centers")
    return shape[0], centers[0] if centers else 0, dataset


def check_labels_of(labels: str, dataset: str, rows: int, inputs: Inputs) -> None:
    """Check labels for ``rows`` rows, and that the ids are there that a CSV speaks of."""
    inputs.labels("labels", labels, rows)
    if inputs.is_csv(labels):
        inputs.dataset("labels", dataset, common_pb2.DATASET_KIND_TENSOR, common_pb2.DATASET_KIND_IMAGES)


def load_finished(name: str, work: Work) -> Finished:
    """Map the rows and labels of a job that :func:`check_finished` let pass; another metric's space is entered."""
    from fastclust.artifacts import load_array

    job = work.job(name)
    dataset = _dataset_of(job)
    kmeans = job.kind == "kmeans"
    rows = work.array(dataset) if kmeans else load_array(work.artifact(name, "embedding"), mmap=True)
    path = work.find_artifact(name, "labels")
    if path is None:
        return Finished(rows, None, dataset)
    labels = load_array(path, mmap=True)
    if _is_euclidean(job):
        return Finished(rows, labels, dataset, load_array(work.artifact(name, "cluster_centers")))
    from fastclust.cluster import KMeans

    centers, space, _ = KMeans.load(work.artifact(name, "kmeans.safetensors")).inner(rows.shape[1])
    metric = "cosine" if space.name == "cosine" else "euclidean"
    return Finished(space.enter(np.asarray(rows)), labels, dataset, centers, metric)


def load_labels_of(labels: str, dataset: str, rows: int, work: Work) -> NDArray[Any]:
    """Read labels ``[rows]``, -1 where unknown: in row order, or by id for a CSV."""
    from fastclust.data import load_labels

    ids = [str(row) for row in range(rows)]
    if work.path(labels).suffix == ".csv" and work.dataset(dataset).kind == common_pb2.DATASET_KIND_IMAGES:
        from fastclust.data import open_images

        ids = open_images(work.path(dataset)).ids
    return load_labels(work.path(labels), ids)


def _is_euclidean(job: JobRecord) -> bool:
    metric = getattr(spec_pb2.JobSpec.FromString(job.spec), job.kind).metric
    return metric.WhichOneof("kind") != "model" and metric.name in {"", "euclidean"}


def _dataset_of(job: JobRecord) -> str:
    name: str = getattr(spec_pb2.JobSpec.FromString(job.spec), job.kind).dataset
    return name
