"""A fitted learner on disk."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

import torch

from fastclust.artifacts import load_model, save_model
from fastclust.errors import DataError
from fastclust.learning.networks import EmbeddingNet, Heads

if TYPE_CHECKING:
    import os

    from fastclust.learning.learner import SelfTaughtLearner

__all__ = ["load_into", "save"]

_KIND = "self_taught_learner"
_FITTED = (
    "encoder_",
    "device_",
    "n_features_in_",
    "n_epochs_",
    "features_",
    "image_size_",
    "image_shape_",
    "views_",
    "loss_curve_",
)


def save(learner: SelfTaughtLearner, path: str | os.PathLike[str]) -> None:
    """Write a fitted learner. A ``random_state`` that is no integer is written as None."""
    params = learner.get_params()
    state = params["random_state"]
    params["random_state"] = int(state) if isinstance(state, Integral) else None
    fitted = {name: getattr(learner, name) for name in _FITTED}
    heads = learner._net.heads  # noqa: SLF001 - the learner's own storage
    widths = {"embedding_dim": heads.f.out_features, "teacher_dim": heads.g.out_features, "hidden": heads.f.in_features}
    tensors = {name: value.numpy() for name, value in learner._net.state_dict().items()}  # noqa: SLF001 - the same
    save_model(path, _KIND, {"params": params, "fitted": fitted, "widths": widths}, tensors)


def load_into(learner: SelfTaughtLearner, path: str | os.PathLike[str]) -> None:
    """Bring a learner to the state in the file. Raises NotFoundError, DataError."""
    stored, tensors = load_model(path, _KIND)
    try:
        learner.set_params(**stored["params"])
        fitted, widths = stored["fitted"], stored["widths"]
        for name in _FITTED:
            setattr(learner, name, fitted[name])
        if learner.image_shape_ is not None:
            height, width, channels = learner.image_shape_
            learner.image_shape_ = (height, width, channels)
        state = {name: torch.from_numpy(value.copy()) for name, value in tensors.items()}
        heads = Heads(state["components"].shape[1], encoder=learner.encoder_, seed=0, **widths)
        net = EmbeddingNet(state["mean"], state["components"], heads)
        net.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: a learner that this version cannot read ({error}).") from error
    learner._net = net.eval()  # noqa: SLF001 - the learner's own storage
