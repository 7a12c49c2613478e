"""Jobs and results for the suites of job stores."""

import uuid

from fastclust.v1 import common_pb2, spec_pb2
from fastclust_server.jobs.records import ArtifactRecord, NewJob
from fastclust_server.storage.catalog import DatasetRecord


def new(owner="ann", clusters=3, request_id="", **others):
    spec = spec_pb2.JobSpec(kmeans=spec_pb2.KMeansSpec(clusters=spec_pb2.ClusterCount(fixed=clusters)))
    return NewJob(owner, "kmeans", spec.SerializeToString(deterministic=True), request_id=request_id, **others)


def artifact(key="labels", attempt=1, job="x"):
    return ArtifactRecord(key, "application/x-npy", b"", 4, 7, is_file=False, file=f"{job}/{attempt}/{key}.npy")


def finish(store, claim, **others):
    left = others.get("artifacts", [artifact()])
    return store.complete(claim, artifacts_=left, metrics={"inertia": 1.5}, notes={"b": "c"}, progress=b"")


def imported(byte_count, owner="ann"):
    """A data set that an import is about to leave."""
    name = uuid.uuid4().hex
    return DatasetRecord(0, name, owner, "", common_pb2.DATASET_KIND_TENSOR, b"", f"{name}.npy", 1, byte_count, 0, 0.0)
