"""Rows or images through a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastclust.errors import UnsupportedError
from fastclust.progress import report
from fastclust.v1 import common_pb2
from fastclust_server.jobs.tasks.train import MODEL, load_features

if TYPE_CHECKING:
    from fastclust.v1.spec_pb2 import EmbedSpec
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["STEPS", "check", "run"]

STEPS = {"features": 0.8, "embed": 0.2}


def check(spec: EmbedSpec, inputs: Inputs) -> None:
    """Check a spec."""
    inputs.job("model", spec.model, "train", "pipeline")
    kinds = (common_pb2.DATASET_KIND_TENSOR, common_pb2.DATASET_KIND_IMAGES)
    record = inputs.dataset("dataset", spec.dataset, *kinds)
    if record.kind == common_pb2.DATASET_KIND_TENSOR:
        inputs.tensor("dataset", spec.dataset)
    if spec.HasField("batch_size"):
        raise UnsupportedError("batch_size: this version of the server does not take it; leave it out.")


def run(spec: EmbedSpec, work: Work) -> None:
    """Leave ``embedding`` (float32 [n, embedding_dim]); rows of numbers are embedded on the operator's cluster if any.

    Features of images, which take longest, are kept for another attempt, those of a net every few seconds.
    """
    from fastclust.learning import SelfTaughtLearner

    learner = SelfTaughtLearner.load(work.artifact(spec.model, MODEL))
    on = work.cluster if work.dataset(spec.dataset).kind == common_pb2.DATASET_KIND_TENSOR else None
    if on is not None:
        from fastclust import distributed
        from fastclust.data import open_rows

        distributed.transform_to(learner, work.path(spec.dataset), work.folder / "embedding", **on)
        work.tensor("embedding", open_rows(work.folder / "embedding", columns=["embedding"]).read())
        work.note(engine="ray")
        return
    work.note(engine="local")
    # Images are brought to the form that the model was trained on.
    notes = work.job(spec.model).notes
    size = int(notes["image_size"]) if "image_size" in notes else None
    features, _ = load_features(spec.dataset, work, size=size, features=notes.get("features", "auto"))
    report("embed", 0, 1)
    work.tensor("embedding", learner.transform(features))
    report("embed", 1, 1)
