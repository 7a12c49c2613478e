"""Trainings on a stand-in for a GPU beside the same ones on the CPU; prints what came of them as JSON.

Run by ``test_on_a_device.py`` in a process of its own.
"""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import fastclust as fc
from fastclust.learning import devices
from fastclust.learning import trainer as training
from tests.accelerator import WAITS

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS: list[list[str]] = []
#: How often a device was waited for between two steps of an epoch.
_BETWEEN: list[int] = []


def _watched(self: Any, numbers: list[int], rate: float) -> Any:
    if self.step:
        _BETWEEN.append(len(WAITS))
    WAITS.clear()
    found = _update(self, numbers, rate)
    _STEPS.append(list(WAITS))
    WAITS.clear()
    return found


_update = training.Trainer._update
training.Trainer._update = _watched  # type: ignore[method-assign]


class _StopError(Exception):
    """Ends a training on its way."""


def _images(count: int = 200) -> np.ndarray:
    source = fc.open_images("digits").read()[:count]
    images: np.ndarray = source.reshape(count, 8, 8)
    return images


def _rows(count: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 20))
    return (centres[rng.integers(6, size=count)] + 0.5 * rng.standard_normal((count, 20))).astype(np.float32)


def _labels(count: int) -> np.ndarray:
    labels = np.full(count, -1)
    labels[: count // 3] = np.arange(count // 3) % 4
    return labels


def _learner(device: str, **params: Any) -> fc.SelfTaughtLearner:
    small = {"epochs": 2, "batch_size": 60, "embedding_dim": 16, "teacher_dim": 32, "hidden": 24, "random_state": 0}
    return fc.SelfTaughtLearner(device=device, **{**small, **params})


def _fitted(device: str, X: Any, params: dict[str, Any], more: dict[str, Any]) -> tuple[Any, Any]:
    learner = _learner(device, **params)
    views = more.get("views")
    learner.fit(X, views=views)
    if "loss" in more:
        learner.fine_tune(X, _labels(len(X)), loss=more["loss"], epochs=1)
    return learner, learner.transform(X)


def _compared(X: Any, params: dict[str, Any], **more: Any) -> dict[str, Any]:
    _STEPS.clear()
    here, own = _fitted("cpu", X, params, more)
    _STEPS.clear()
    _BETWEEN.clear()
    there, other = _fitted("there", X, params, more)
    waits = sorted({wait for step in _STEPS for wait in step})
    return {
        "device": there.device_,
        "cosine": float((own * other).sum(1).min()),
        "losses": float(np.abs(np.subtract(here.loss_curve_, there.loss_curve_)).max()),
        "scores": [here.validation_curve_, there.validation_curve_],
        "steps": len(_STEPS),
        "waits": waits,
        "between": sum(_BETWEEN) / len(_BETWEEN),
    }


def _resumed() -> dict[str, Any]:
    """Break a training off within its second epoch and go on: the bits of one that was not."""
    X, params = _images(), {"encoder": "resnet", "objective": "manifold_triplet", "learning_rate": 1e-3}
    whole = _learner("there", **params).fit(X).transform(X)
    with tempfile.TemporaryDirectory() as folder:

        def stop(name: str, _: float, step: int) -> None:
            if name == "loss" and step == 13:
                raise _StopError

        try:
            _learner("there", **params).fit(X, checkpoint=folder, log=stop)
        except _StopError:
            stopped = True
        again = _learner("there", **params).fit(X, checkpoint=folder).transform(X)
        return {"stopped": stopped, "same": bool((whole == again).all())}


def _module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten())


def _small(compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do it with a device that has no room for rows."""
    before, devices.memory_of = devices.memory_of, lambda _: 0.0
    try:
        return compute()
    finally:
        devices.memory_of = before


def _moved() -> dict[str, Any]:
    """What was trained in one place is asked and pickled in others."""
    X = _rows()
    learner = _learner("cpu", epochs=1).fit(X)
    own = learner.transform(X)
    learner.set_params(device="there")
    moved = learner.transform(X)
    device = learner.device_
    opened = pickle.loads(pickle.dumps(learner))
    return {
        "devices": [device, opened.device_, learner.device_, str(opened._net.device)],
        "gap": float(max(np.abs(own - moved).max(), np.abs(own - opened.set_params(device="cpu").transform(X)).max())),
        "features": _asked_for_features(),
    }


def _asked_for_features() -> list[str]:
    """Where a learner with a net's features has that net asked."""
    from fastclust.learning import pretrained

    asked: list[str] = []
    before = pretrained.compute

    def compute(images: Any, name: str, *, device: str, **_: Any) -> Any:
        asked.append(device)
        values = images.read().reshape(len(images), -1).astype(np.float32)
        return fc.learning.FeatureSet(values, None, name, 8)

    pretrained.compute = compute
    try:
        learner = _learner("there", epochs=1, encoder="efficientnet-lite0").fit(_images())
        learner.transform(_images())
    finally:
        pretrained.compute = before
    return asked


def _kept() -> dict[str, Any]:
    X = _images()
    learner = _learner("there").fit(X)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "learner.safetensors"
        learner.save(path)
        here, there = fc.SelfTaughtLearner.load(path), fc.SelfTaughtLearner.load(path, device="there")
        written = learner.transform_to(X.reshape(len(X), -1) / np.float32(1), Path(folder) / "embedding")
        return {
            "devices": [here.device_, there.device_, here.device, there.device],
            "here": float(np.abs(here.transform(X) - learner.transform(X)).max()),
            "there": bool((there.transform(X) == learner.transform(X)).all()),
            "tuned": there.fine_tune(X, _labels(len(X)), epochs=1).device_,
            "files": len(written),
        }


def _watches() -> list[str]:
    WAITS.clear()
    there = torch.ones(3).to("there")
    float(there.sum())
    there.cpu()
    return sorted(WAITS)


def _refuses() -> str:
    try:
        torch.ones(3).to("there") + torch.ones(3)
    except RuntimeError as error:
        return str(error)
    return "nothing"


def main() -> None:
    """Print all of it."""
    images, rows = _images(), _rows()
    views = np.stack([rows + np.float32(0.1), rows - np.float32(0.1)], 1)
    found = {
        "patches": _compared(images, {}),
        "patches, trained": _compared(images, {"encoder": "patches", "train_encoder": True, "epochs": 1}),
        "resnet, triplets": _compared(images, {"encoder": "resnet", "objective": "manifold_triplet"}),
        "linear, pairs": _compared(rows, {"objective": "manifold_contrastive", "epochs": 1}),
        "rows": _compared(rows, {}),
        "rows, no context": _compared(
            rows, {"use_context": False, "context_weight": 0.0, "accumulate": 2, "epochs": 1}
        ),
        "views given": _compared(rows, {"epochs": 1}, views=views),
        "module": _compared(images, {"encoder": _module(), "epochs": 1}),
        "module there": _compared(images, {"encoder": _module().to("there"), "epochs": 1}),
        "views of the host": _small(lambda: _compared(rows, {"epochs": 1}, views=views)),
        "images of the host": _small(lambda: _compared(images, {"encoder": "resnet", "epochs": 1})),
        "moved": _moved(),
        "held out": _compared(images, {"validation": 0.2}),
        "tuned by pairs": _compared(rows, {"epochs": 1}, loss="contrastive"),
        "tuned by triplets": _compared(rows, {"epochs": 1}, loss="triplet"),
        "resumed": _resumed(),
        "kept": _kept(),
        "watched": _watches(),
        "refused": _refuses(),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
