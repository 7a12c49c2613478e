"""The whole run. Its run folder stays from attempt to attempt, so that finished steps are not done again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastclust.artifacts import load_array, load_json, load_model
from fastclust.errors import UnsupportedError
from fastclust.v1 import common_pb2
from fastclust_server.jobs.inputs import FLOATS, check_encoder, chosen
from fastclust_server.jobs.tasks.kmeans import check_clusters, check_method
from fastclust_server.jobs.tracker import encode_steps

if TYPE_CHECKING:
    from fastclust.v1.spec_pb2 import PipelineSpec
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["STEPS", "check", "run"]

#: The run says itself how far the whole is.
STEPS: dict[str, float] = {}

_TENSORS = {"embedding": "embedding.npy", "labels": "labels.npy", "map": "map.npy"}
_FILES = (
    "report.html",
    "map.png",
    "map.parquet",
    "quality.json",
    "insight.json",
    "choice.json",
    "run.json",
    "learner.safetensors",
    "kmeans.safetensors",
)
_OPTIONAL = (
    "features",
    "encoder",
    "embedding_dim",
    "epochs",
    "n_neighbors",
    "index",
    "perplexity",
    "map_max_iter",
    "image_size",
    "random_state",
)


def check(spec: PipelineSpec, inputs: Inputs) -> None:
    """Check a spec: names and forms here, parameters by the pipeline's own checks."""
    from fastclust.pipeline.params import RunParams

    kinds = (common_pb2.DATASET_KIND_TENSOR, common_pb2.DATASET_KIND_IMAGES)
    record = inputs.dataset("dataset", spec.dataset, *kinds)
    if record.kind == common_pb2.DATASET_KIND_TENSOR:
        if len(record.tensor.shape) == 2:
            inputs.tensor("dataset", spec.dataset, (2,), FLOATS)
        else:
            inputs.tensor("dataset", spec.dataset, (2, 3, 4), ("uint8",))
    check_method(spec.method)
    check_encoder(spec, inputs.settings)
    if spec.HasField("backend"):
        raise UnsupportedError("backend: this version of the server does not take it here; leave it out.")
    if spec.metric.WhichOneof("kind") == "model":
        raise UnsupportedError('metric: the pipeline fits its own; give the name "mahalanobis".')
    if spec.clusters.HasField("search"):
        if spec.clusters.search.min or spec.clusters.search.max:
            raise UnsupportedError(
                "clusters: this version of the server searches without bounds; leave min and max out."
            )
    else:
        check_clusters(spec.clusters, record.row_count)
    RunParams(**_params(spec)).for_rows(record.row_count)
    for field in ("labels", "train_labels"):
        if getattr(spec, field):
            inputs.labels(field, getattr(spec, field), record.row_count)


def run(spec: PipelineSpec, work: Work) -> None:
    """Leave the tensors ``embedding``, ``labels``, ``map``, ``cluster_centers`` and the files of the run."""
    from fastclust.pipeline import run as run_pipeline

    folder = work.folder / "run"
    arguments: dict[str, Any] = _params(spec)
    arguments.setdefault("title", work.display_name or work.dataset(spec.dataset).display_name or "fastclust run")
    for field in ("labels", "train_labels"):
        if getattr(spec, field):
            arguments[field] = work.path(getattr(spec, field))
    if spec.steps:
        arguments["steps"] = list(spec.steps)
    result = run_pipeline(work.path(spec.dataset), folder, **arguments)
    for key, name in _TENSORS.items():
        if (folder / name).is_file():
            work.tensor(key, load_array(folder / name, mmap=True))
    if (folder / "kmeans.safetensors").is_file():
        _, tensors = load_model(folder / "kmeans.safetensors", "kmeans")
        work.tensor("cluster_centers", tensors["cluster_centers"])
    for name in _FILES:
        if (folder / name).is_file():
            work.file(folder / name)
    record = load_json(folder / "run.json")
    work.steps = encode_steps(record["steps"])
    _figures(result.quality, record, work)


def _params(spec: PipelineSpec) -> dict[str, Any]:
    params = chosen(spec, *_OPTIONAL)
    if spec.title:
        params["title"] = spec.title
    if spec.clusters.HasField("fixed"):
        params["n_clusters"] = spec.clusters.fixed
    elif spec.clusters.HasField("search"):
        params["n_clusters"] = "auto"
    if spec.metric.name:
        params["metric"] = spec.metric.name
    return params


def _figures(quality: dict[str, Any], record: dict[str, Any], work: Work) -> None:
    """Show the last row of the quality table (what was learned), and notes of the steps."""
    for row in quality.get("rows", [])[-1:]:
        work.metric(**{name: value for name, value in row.items() if isinstance(value, int | float)})
    work.metric(**{name: value for name, value in quality.get("map", {}).items() if isinstance(value, int | float)})
    for step in record["steps"]:
        notes = step["notes"]
        work.metric(**{name: notes[name] for name in ("inertia", "recall", "n_iter") if name in notes})
        for name in ("backend", "index", "encoder", "features"):
            if name in notes:
                work.note(**{name if name != "backend" else f"{step['name']}_backend": notes[name]})
        if "image_size" in notes:
            work.note(image_size=notes["image_size"])
