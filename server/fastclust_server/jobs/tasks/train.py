"""Self-taught training: a model, and the rows embedded by it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.artifacts import load_model, save_model
from fastclust.errors import BackendError, InputError
from fastclust.progress import as_part
from fastclust.v1 import common_pb2
from fastclust_server.jobs.inputs import check_encoder, check_integer, check_number, chosen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.learning import SelfTaughtLearner
    from fastclust.learning.features import FeatureSet
    from fastclust.v1.spec_pb2 import TrainSpec
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["MODEL", "STEPS", "check", "load_features", "run", "steps"]

_TUNE = "fine-tune"
STEPS = {"features": 0.15, "learn": 0.7, _TUNE: 0.15}

#: Artifact that holds the model.
MODEL = "learner.safetensors"
#: Of a net that is made here: a model that is gone on from has its own.
_OF_A_NEW_NET = ("encoder", "embedding_dim", "batch_size", "learning_rate", "weight_decay", "objective", "image_size")
#: Those of the learner.
_OBJECTIVES = ("self_taught", "manifold_triplet", "manifold_contrastive")
#: The learner's device, by backend.
_DEVICES = {"auto": "auto", "cpu": "cpu", "gpu": "cuda"}


def steps(spec: TrainSpec) -> dict[str, float]:
    """Features, learning where no model is gone on from, and fine-tuning where there are labels."""
    left_out = {"learn": bool(spec.model), _TUNE: not spec.labels}
    return {step: share for step, share in STEPS.items() if not left_out.get(step, False)}


def check(spec: TrainSpec, inputs: Inputs) -> None:
    """Check a spec."""
    kinds = (common_pb2.DATASET_KIND_TENSOR, common_pb2.DATASET_KIND_IMAGES)
    record = inputs.dataset("dataset", spec.dataset, *kinds)
    rows = record.row_count
    if record.kind == common_pb2.DATASET_KIND_TENSOR:
        inputs.tensor("dataset", spec.dataset)
    if rows < 2:
        raise InputError("dataset", f"{rows} row", "at least 2 rows")
    if spec.labels:
        inputs.labels("labels", spec.labels, rows)
    _check_model(spec, inputs)
    check_encoder(spec, inputs.settings)
    for field in ("embedding_dim", "epochs", "batch_size"):
        check_integer(spec, field, 1)
    check_integer(spec, "image_size", 4)
    check_number(spec, "learning_rate", 0.0)
    check_number(spec, "weight_decay", 0.0, equal=True)
    if spec.HasField("objective") and spec.objective not in _OBJECTIVES:
        raise InputError("objective", repr(spec.objective[:100]), ", ".join(_OBJECTIVES))
    if spec.HasField("backend"):
        if spec.backend not in _DEVICES:
            raise BackendError(f"backend={spec.backend[:100]!r}: no such backend. Allowed: {', '.join(_DEVICES)}.")
        if spec.backend == "gpu" and inputs.settings.engine != "local":
            raise BackendError("backend='gpu': this server trains on a cluster, on CPUs. Allowed: auto, cpu.")


def _check_model(spec: TrainSpec, inputs: Inputs) -> None:
    if spec.HasField("label_share"):
        if not spec.labels:
            raise InputError("label_share", f"{spec.label_share:g} of no labels", "labels with it, or none of both")
        if not 0 < spec.label_share <= 1:
            raise InputError("label_share", f"{spec.label_share:g}", "a share above 0, at most 1")
    if not spec.model:
        return
    if not inputs.has_artifact(inputs.job("model", spec.model, "train", "pipeline"), MODEL):
        raise InputError("model", "a job that learned nothing", "a train job, or a pipeline job with the step learn")
    if not spec.labels:
        raise InputError("model", "one without labels", "labels with it: a model is fine-tuned")
    for field in chosen(spec, *_OF_A_NEW_NET):
        raise InputError(field, "a value, with a model", "none: it is the model's")


def run(spec: TrainSpec, work: Work) -> None:
    """Leave ``learner.safetensors`` and ``embedding`` (float32 [n, embedding_dim]); trained here or on the cluster.

    Features of images and the state of training are kept, and another attempt goes on from there to the same bits;
    that needs a seed.
    """
    from fastclust import distributed
    from fastclust.learning.devices import choose_device

    device = _DEVICES[spec.backend or "auto"]
    choose_device(device)
    on = work.cluster
    if spec.model:
        learner, features, ids = _of_a_model(spec, work, device)
    else:
        learner, features, ids = _new(spec, work, device)
    # Before hours of learning: they may be too few.
    labels = _labels(spec, work, ids, learner.random_state) if spec.labels else None
    if not spec.model:
        kept = work.folder / "learn"
        if on is None:
            learner.fit(features, checkpoint=kept)
        else:
            distributed.train(learner, features, checkpoint=kept, **on)
    if labels is not None:
        # Of a model that is gone on from; else they are those of learning without labels.
        kept, more = work.folder / "fine-tune", chosen(spec, "epochs") if spec.model else {}
        with as_part(_TUNE, "learn", 0.0, 1.0):
            if on is None:
                learner.fine_tune(features, labels, checkpoint=kept, **more)
            else:
                distributed.fine_tune(learner, features, labels, checkpoint=kept, **more, **on)
        work.note(fine_tuned_with=int((labels >= 0).sum()))
    work.tensor("embedding", learner.transform(features))
    path = work.new_file(MODEL)
    learner.save(path)
    work.written(path)
    about = {"encoder": learner.encoder_, "device": learner.device_, "random_state": learner.random_state}
    work.note(engine=work.settings.engine, **about)


def _new(spec: TrainSpec, work: Work, device: str) -> tuple[SelfTaughtLearner, Any, list[str]]:
    """A learner of the spec's parameters, with rows and their ids."""
    from fastclust.learning import SelfTaughtLearner

    size = spec.image_size if spec.HasField("image_size") else None
    features, ids = load_features(spec.dataset, work, size=size, device=device)
    arguments = chosen(
        spec,
        "encoder",
        "embedding_dim",
        "epochs",
        "batch_size",
        "learning_rate",
        "weight_decay",
        "objective",
        "random_state",
    )
    arguments.setdefault("random_state", work.seed)
    return SelfTaughtLearner(**arguments, device=device), features, ids


def _of_a_model(spec: TrainSpec, work: Work, device: str) -> tuple[SelfTaughtLearner, Any, list[str]]:
    """The learner of another job, with rows in the form that it was trained on."""
    from fastclust.learning import SelfTaughtLearner

    learner = SelfTaughtLearner.load(work.artifact(spec.model, MODEL), device=device)
    learner.random_state = spec.random_state if spec.HasField("random_state") else work.seed
    notes = work.job(spec.model).notes
    size = int(notes["image_size"]) if "image_size" in notes else None
    images = work.dataset(spec.dataset).kind == common_pb2.DATASET_KIND_IMAGES
    if images and notes.get("features", "rows") == "rows":
        raise InputError("dataset", "images", "rows: the model was trained on rows")
    features, ids = load_features(spec.dataset, work, size=size, features=notes.get("features", "auto"), device=device)
    return learner, features, ids


def _labels(spec: TrainSpec, work: Work, ids: list[str], seed: int) -> NDArray[np.int64]:
    """The labels to tune with: of each class the share that is asked for, at least one, drawn by the seed."""
    from fastclust.data import load_labels
    from fastclust.learning.inputs import check_labels

    labels = check_labels(load_labels(work.path(spec.labels), ids), len(ids))
    if not spec.HasField("label_share"):
        return labels
    rng, found = np.random.default_rng(seed), np.full_like(labels, -1)
    for label in np.unique(labels[labels >= 0]):
        rows = rng.permutation(np.flatnonzero(labels == label))
        found[rows[: max(1, round(spec.label_share * len(rows)))]] = label
    return found


def load_features(
    dataset: str, work: Work, *, size: int | None, features: str = "auto", device: str = "auto"
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
        found = compute_features(images, features=features, size=size, checkpoint=parts, device=device)
        about = {"name": found.name, "image_size": found.image_size, "image_shape": found.image_shape}
        save_model(path, "features", about, {"values": found.values})
        shutil.rmtree(parts, ignore_errors=True)
    work.note(features=found.name, image_size=found.image_size)
    return found, images.ids
