"""Checks of a learner's parameters, before any work."""

from __future__ import annotations

import sys
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from torch import nn

from fastclust.errors import InputError, InputTypeError
from fastclust.learning.devices import choose_device
from fastclust.learning.encoders import ENCODERS
from fastclust.learning.plan import OBJECTIVES

if TYPE_CHECKING:
    from fastclust.learning.learner import SelfTaughtLearner

__all__ = ["check_loss", "check_params"]

#: Supervised losses that come to the self-taught one.
_LOSSES = ("contrastive", "triplet")

_TINY, _HUGE, _BELOW = sys.float_info.min, sys.float_info.max, 1 - sys.float_info.epsilon
_LEAST = {
    "embedding_dim": 1,
    "teacher_dim": 1,
    "hidden": 1,
    "batch_size": 2,
    "n_nearest": 2,
    "n_views": 1,
    "accumulate": 1,
}
_CHOICES: dict[str, tuple[Any, ...]] = {
    "objective": OBJECTIVES,
    "precision": ("full", "bf16"),
    "train_encoder": ("auto", True, False),
    "use_context": (True, False),
    "use_g": (True, False),
    "use_distillation": (True, False),
}
_ABOVE_ZERO = ("sigma", "margin", "temperature", "learning_rate")
_SHARES = ("context_weight", "momentum")
_BELOW_ONE = ("validation",)
_FROM_ZERO = ("weight_decay", "augment")


def check_params(learner: SelfTaughtLearner, epochs: int | str | None = None) -> None:
    """Raise InputError, InputTypeError or BackendError for the first parameter that is not allowed."""
    _check_encoder(learner.encoder)
    _check_choices(learner)
    choose_device(learner.device)
    for name, least in _LEAST.items():
        _check_integer(name, getattr(learner, name), least)
    for name, wanted in (("n_components", learner.n_components), ("epochs", learner.epochs), ("epochs", epochs)):
        if wanted is not None and wanted != "auto":
            _check_integer(name, wanted, 1)
    for names, lowest, highest, allowed in (
        (_ABOVE_ZERO, _TINY, _HUGE, "a number above 0"),
        (_SHARES, 0.0, 1.0, "a number in 0..1"),
        (_BELOW_ONE, 0.0, _BELOW, "a number from 0 to below 1"),
        (_FROM_ZERO, 0.0, _HUGE, "a number of at least 0"),
    ):
        for name in names:
            value = getattr(learner, name)
            if name == "learning_rate" and isinstance(value, str) and value == "auto":
                continue
            said = f'"auto" or {allowed}' if name == "learning_rate" else allowed
            if not isinstance(value, Real) or isinstance(value, bool):
                raise InputTypeError(name, f"{type(value).__name__} {value!r}", said)
            if not lowest <= float(value) <= highest:
                raise InputError(name, value, said)


def check_loss(loss: Any) -> None:
    """Raise InputError for a supervised loss that there is none of."""
    if loss not in _LOSSES:
        raise InputError("loss", repr(loss), ", ".join(_LOSSES))


def _check_choices(learner: SelfTaughtLearner) -> None:
    for name, choices in _CHOICES.items():
        if getattr(learner, name) not in choices:
            raise InputError(name, repr(getattr(learner, name)), ", ".join(map(str, choices)))


def _check_encoder(encoder: Any) -> None:
    if isinstance(encoder, nn.Module) or encoder in ("auto", *ENCODERS):
        return
    if not isinstance(encoder, str) or not encoder.startswith(("timm:", "hf:")):
        raise InputError("encoder", repr(encoder), f"{', '.join(('auto', *ENCODERS))}, timm:NAME, hf:NAME or a module")


def _check_integer(name: str, value: Any, least: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InputTypeError(name, f"{type(value).__name__} {value!r}", f"an integer of at least {least}")
    if value < least:
        raise InputError(name, value, f"an integer of at least {least}")
