"""k-means: labels, centres and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastclust.errors import InputError, UnsupportedError
from fastclust.v1 import spec_pb2
from fastclust_server.jobs.inputs import check_integer, check_number, chosen
from fastclust_server.jobs.tasks.metrics import load_metric

if TYPE_CHECKING:
    from fastclust.v1.spec_pb2 import KMeansSpec
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["STEPS", "check", "check_clusters", "run"]

STEPS = {"seed": 0.2, "kmeans": 0.8}

_DEFAULT_CLUSTERS = 8
#: Rows x columns x clusters: an iteration of this takes longer than to write its state and wait for the disk.
_LONG = 10**9
#: Fields of methods that this version does not have.
_LATER = ("batch_size", "size_min", "size_max", "n_neighbors", "n_components")


def check(spec: KMeansSpec, inputs: Inputs) -> None:
    """Check a spec."""
    rows, columns = inputs.tensor("dataset", spec.dataset)
    check_method(spec.method)
    for field in chosen(spec, *_LATER):
        raise UnsupportedError(f"{field} belongs to a method that this version of the server does not have.")
    n_clusters = check_clusters(spec.clusters, rows) or _DEFAULT_CLUSTERS
    if n_clusters > rows:
        raise InputError("n_clusters", n_clusters, f"1..{rows}, the number of rows")
    check_integer(spec, "n_init", 1)
    check_integer(spec, "max_iter", 1)
    check_number(spec, "tol", 0.0, equal=True)
    if spec.WhichOneof("init") == "init_dataset":
        inputs.exactly("init", spec.init_dataset, (n_clusters, columns), "a centre a cluster")
    if spec.sample_weight:
        inputs.exactly("sample_weight", spec.sample_weight, (rows,), "a weight a row")
    inputs.metric(spec.metric, columns)


def check_method(method: spec_pb2.ClusteringMethod.ValueType) -> None:
    """Refuse methods that this version does not have."""
    if method not in {spec_pb2.CLUSTERING_METHOD_UNSPECIFIED, spec_pb2.CLUSTERING_METHOD_LLOYD}:
        came = spec_pb2.ClusteringMethod.Name(method)
        raise UnsupportedError(f"method: {came} is not in this version of the server; CLUSTERING_METHOD_LLOYD is.")


def check_clusters(clusters: spec_pb2.ClusterCount, rows: int) -> int | None:
    """Return the number of clusters asked for; None: the default."""
    which = clusters.WhichOneof("kind")
    if which == "search":
        raise UnsupportedError("clusters: this version of the server does not search for their number; give it.")
    if which is None:
        return None
    if not 1 <= clusters.fixed <= rows:
        raise InputError("n_clusters", clusters.fixed, f"1..{rows}, the number of rows")
    return clusters.fixed


def run(spec: KMeansSpec, work: Work) -> None:
    """Fit, here or on the operator's cluster, and leave ``labels`` (int32 [n]) and ``cluster_centers`` ([k, d])."""
    from fastclust import distributed
    from fastclust.cluster import KMeans

    arguments = chosen(spec, "n_init", "max_iter", "tol", "algorithm", "arithmetic", "backend", "random_state")
    if spec.clusters.HasField("fixed"):
        arguments["n_clusters"] = spec.clusters.fixed
    which = spec.WhichOneof("init")
    if which is not None:
        arguments["init"] = spec.init_method if which == "init_method" else work.array(spec.init_dataset)
    if spec.HasField("metric"):
        arguments["metric"] = load_metric(spec.metric, work)
    weights = work.array(spec.sample_weight) if spec.sample_weight else None
    rows = work.rows(spec.dataset)
    # A long fit is kept after each iteration, and another attempt goes on from there; that needs a seed.
    arguments.setdefault("random_state", work.seed)
    long = rows.shape[0] * rows.shape[1] * arguments.get("n_clusters", _DEFAULT_CLUSTERS) >= _LONG
    on = work.cluster
    folder = work.folder / "kmeans" if long or on is not None else None
    asked = KMeans(**arguments) if on is None else distributed.KMeans(**arguments, **on)
    model = asked.fit(rows, sample_weight=weights, checkpoint=folder)
    work.tensor("labels", model.labels_)
    work.tensor("cluster_centers", model.cluster_centers_)
    path = work.new_file("kmeans.safetensors")
    model.save(path)
    work.written(path)
    work.metric(inertia=model.inertia_, n_iter=model.n_iter_)
    work.note(engine=work.settings.engine, backend=model.backend_, random_state=arguments["random_state"])
