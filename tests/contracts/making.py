"""Jobs and results for the suites of job stores."""

from fastclust.v1 import spec_pb2
from fastclust_server.jobs.records import ArtifactRecord, NewJob


def new(owner="ann", clusters=3, request_id="", **others):
    spec = spec_pb2.JobSpec(kmeans=spec_pb2.KMeansSpec(clusters=spec_pb2.ClusterCount(fixed=clusters)))
    return NewJob(owner, "kmeans", spec.SerializeToString(deterministic=True), request_id=request_id, **others)


def artifact(key="labels", attempt=1, job="x"):
    return ArtifactRecord(key, "application/x-npy", b"", 4, 7, is_file=False, file=f"{job}/{attempt}/{key}.npy")


def finish(store, claim, **others):
    left = others.get("artifacts", [artifact()])
    return store.complete(claim, artifacts_=left, metrics={"inertia": 1.5}, notes={"b": "c"}, progress=b"")
