"""A fitted learner on disk."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch

from fastclust.artifacts import load_model, save_model
from fastclust.errors import DataError
from fastclust.learning.encoders import describe, rebuild

if TYPE_CHECKING:
    import os

    from fastclust.learning.learner import SelfTaughtLearner

__all__ = ["load_into", "save"]

_KIND = "self_taught_learner"
_FITTED = (
    "encoder_",
    "trained_",
    "device_",
    "n_features_in_",
    "n_epochs_",
    "features_",
    "image_size_",
    "image_shape_",
    "views_",
    "loss_curve_",
    "validation_curve_",
)


def save(learner: SelfTaughtLearner, path: str | os.PathLike[str]) -> None:
    """Write a fitted learner. A ``random_state`` that is no integer is written as None, a module as "module"."""
    params = learner.get_params(deep=False)
    state = params["random_state"]
    params["random_state"] = int(state) if isinstance(state, Integral) else None
    if isinstance(params["encoder"], torch.nn.Module):
        params["encoder"] = "module"
    fitted = {name: getattr(learner, name) for name in _FITTED}
    net = learner._net  # noqa: SLF001 - the learner's own storage
    tensors = {name: value.cpu().numpy() for name, value in net.state_dict().items()}
    save_model(path, _KIND, {"params": params, "fitted": fitted, "net": describe(net)}, tensors)


def load_into(learner: SelfTaughtLearner, path: str | os.PathLike[str], encoder: Any = None) -> None:
    """Bring a learner to the state in the file. Raises NotFoundError, DataError."""
    stored, tensors = load_model(path, _KIND)
    try:
        params = stored["params"]
        if params["encoder"] == "module" and encoder is not None:
            params["encoder"] = encoder
        learner.set_params(**params)
        fitted = stored["fitted"]
        for name in _FITTED:
            setattr(learner, name, fitted.get(name, []) if name == "validation_curve_" else fitted[name])
        if learner.image_shape_ is not None:
            height, width, channels = learner.image_shape_
            learner.image_shape_ = (height, width, channels)
        net = rebuild(stored["net"], encoder, learner.image_shape_)
        net.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: a learner that this version cannot read ({error}).") from error
    learner._net = net.eval()  # noqa: SLF001 - the learner's own storage
