"""Self-taught training: a model, and the rows embedded by it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from fastclust.artifacts import load_model, save_model
from fastclust.errors import InputError, UnsupportedError
from fastclust.progress import as_part
from fastclust.v1 import common_pb2
from fastclust_server.jobs.inputs import check_encoder, check_integer, check_number, chosen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.learning.features import FeatureSet
    from fastclust.v1.spec_pb2 import TrainSpec
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["MODEL", "STEPS", "check", "load_features", "run", "steps"]

_TUNE = "fine-tune"
STEPS = {"features": 0.15, "learn": 0.7, _TUNE: 0.15}

#: Artifact that holds the model.
MODEL = "learner.safetensors"
#: Fields that the library's learner does not take in this version.
_LATER = ("label_share", "objective", "backend")


def steps(spec: TrainSpec) -> dict[str, float]:
    """Features, learning, and fine-tuning where there are labels."""
    return STEPS if spec.labels else {step: share for step, share in STEPS.items() if step != _TUNE}


def check(spec: TrainSpec, inputs: Inputs) -> None:
    """Check a spec."""
    kinds = (common_pb2.DATASET_KIND_TENSOR, common_pb2.DATASET_KIND_IMAGES)
    record = inputs.dataset("dataset", spec.dataset, *kinds)
    rows = record.row_count
    if record.kind == common_pb2.DATASET_KIND_TENSOR:
        inputs.tensor("dataset", spec.dataset)
    if rows < 2:
        raise InputError("dataset", f"{rows} row", "at least 2 rows")
    if spec.model:
        raise UnsupportedError("model: this version of the server does not go on from another model.")
    for field in chosen(spec, *_LATER):
        raise UnsupportedError(f"{field}: this version of the server does not take it; leave it out.")
    if spec.labels:
        inputs.labels("labels", spec.labels, rows)
    check_encoder(spec, inputs.settings)
    for field in ("embedding_dim", "epochs", "batch_size"):
        check_integer(spec, field, 1)
    check_integer(spec, "image_size", 4)
    check_number(spec, "learning_rate", 0.0)
    check_number(spec, "weight_decay", 0.0, equal=True)


def run(spec: TrainSpec, work: Work) -> None:
    """Leave ``learner.safetensors`` and ``embedding`` (float32 [n, embedding_dim]); trained here or on the cluster.

    Features of images and the state of training are kept, and another attempt goes on from there to the same bits;
    that needs a seed.
    """
    from fastclust import distributed
    from fastclust.learning import SelfTaughtLearner

    size = spec.image_size if spec.HasField("image_size") else None
    features, ids = load_features(spec.dataset, work, size=size)
    arguments = chosen(
        spec, "encoder", "embedding_dim", "epochs", "batch_size", "learning_rate", "weight_decay", "random_state"
    )
    arguments.setdefault("random_state", work.seed)
    learner, on = SelfTaughtLearner(**arguments), work.cluster
    kept = work.folder / "learn"
    if on is None:
        learner.fit(features, checkpoint=kept)
    else:
        distributed.train(learner, features, checkpoint=kept, **on)
    if spec.labels:
        from fastclust.data import load_labels

        labels = load_labels(work.path(spec.labels), ids)
        kept = work.folder / "fine-tune"
        with as_part(_TUNE, "learn", 0.0, 1.0):
            if on is None:
                learner.fine_tune(features, labels, checkpoint=kept)
            else:
                distributed.fine_tune(learner, features, labels, checkpoint=kept, **on)
    work.tensor("embedding", learner.transform(features))
    path = work.new_file(MODEL)
    learner.save(path)
    work.written(path)
    work.note(engine=work.settings.engine, encoder=learner.encoder_, random_state=arguments["random_state"])


def load_features(
    dataset: str, work: Work, *, size: int | None, features: str = "auto"
) -> tuple[NDArray[Any] | FeatureSet, list[str]]:
    """Return rows as they are, or features of images, and the rows' ids; notes which features, and of what size."""
    if work.dataset(dataset).kind == common_pb2.DATASET_KIND_TENSOR:
        rows = work.array(dataset)
        return rows, [str(row) for row in range(len(rows))]
    from fastclust.data import open_images
    from fastclust.learning.features import FeatureSet, compute_features

    images = open_images(work.path(dataset))
    path = work.folder / "features.safetensors"
    if path.is_file():
        about, tensors = load_model(path, "features")
        shape = about["image_shape"]
        found = FeatureSet(tensors["values"], None, about["name"], about["image_size"], shape and tuple(shape))
    else:
        parts = work.folder / "features"
        found = compute_features(images, features=features, size=size, checkpoint=parts)
        about = {"name": found.name, "image_size": found.image_size, "image_shape": found.image_shape}
        save_model(path, "features", about, {"values": found.values})
        shutil.rmtree(parts, ignore_errors=True)
    work.note(features=found.name, image_size=found.image_size)
    return found, images.ids
