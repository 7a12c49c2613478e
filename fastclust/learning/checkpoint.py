"""A trainer's state on disk, without pickle: a run that was killed goes on from it to the same bits."""

from __future__ import annotations

import hashlib
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fastclust.artifacts import load_model, save_model
from fastclust.errors import InputError, PreconditionError
from fastclust.learning import ranks
from fastclust.learning.context import Context

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from torch import Tensor

    from fastclust.learning.inputs import Inputs
    from fastclust.learning.learner import SelfTaughtLearner
    from fastclust.learning.trainer import Trainer

__all__ = ["Checkpoint", "keeper_of", "said"]

_KIND = "learner_checkpoint"
_FILE, _BEST = "checkpoint.safetensors", "best.safetensors"


def said(value: Any) -> str:
    """Return a short text that differs where a parameter or an array does; a module is known by its class."""
    if isinstance(value, np.ndarray):
        digest = hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()
        return f"{value.shape} {digest}"
    return type(value).__name__ if isinstance(value, torch.nn.Module) else repr(value)


class Checkpoint:
    """A file in a folder: student, teacher, optimiser, the epoch's graph and negatives, and how far it is.

    Of a mined objective that trains the encoder also what the epoch's steps said of rows.

    Where rows are held out, ``best.safetensors`` beside it has the student after the epoch that did best on them.

    Random numbers are drawn from the seed, the epoch and the batch's number: no generator's state is needed.

    Parameters
    ----------
    folder
        Where the file lies; made where it is missing.
    about
        What must be the same for a run to be taken up: texts by name.
    every
        Steps between two states that are kept.
    """

    def __init__(self, folder: str | os.PathLike[str], about: dict[str, str], *, every: int = 100) -> None:
        self._path, self._best = Path(folder) / _FILE, Path(folder) / _BEST
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Many processes take as many batches a step: other steps than one takes.
        self._about = about if ranks.world() == 1 else {**about, "processes": str(ranks.world())}
        self._every = every

    def due(self, step: int) -> bool:
        """Whether the state after this step is kept."""
        return step % self._every == 0

    def keep(self, trainer: Trainer) -> None:
        """Write the trainer's state; with many processes the first one does."""
        if ranks.rank() != 0:
            return
        tensors: dict[str, NDArray[Any]] = {}
        for name, module in (("student", trainer.student), ("teacher", trainer.teacher)):
            tensors |= {f"{name}.{key}": value.cpu().numpy() for key, value in module.state_dict().items()}
        for number, state in trainer.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{key}": value.cpu().numpy() for key, value in state.items()}
        context, first = trainer.context, trainer.first
        assert context is not None
        assert first is not None
        tensors |= {"neighbors": context.neighbors, "coordinates": context.coordinates, "first": first}
        if context.spread is not None:
            tensors |= {"spread_labels": context.spread[0], "spread_confidence": context.spread[1]}
        if trainer.hardest is not None:
            tensors["hardest"] = trainer.hardest
        if trainer.remembered is not None:
            tensors |= trainer.remembered.state()
        exact: dict[str, Any] = {
            "total": repr(float(trainer.total)),
            "history": [repr(loss) for loss in trainer.history],
        }
        exact["scores"] = [repr(score) for score in trainer.scores]
        params = {"about": self._about, "epoch": trainer.epoch, "step": trainer.step, **exact}
        save_model(self._path, _KIND, params, tensors)

    def keep_best(self, student: dict[str, Tensor], epoch: int, score: float) -> None:
        """Write the student of the best epoch so far, before the state that knows of it; the first process does."""
        if ranks.rank() != 0:
            return
        params = {"about": self._about, "epoch": epoch, "score": repr(score)}
        save_model(self._best, _KIND, params, {name: value.cpu().numpy() for name, value in student.items()})

    def restore(self, trainer: Trainer) -> None:
        """Bring the trainer to the state kept, if there is one.

        Raises PreconditionError where that is of another run, DataError where it cannot be read.
        """
        if not self._path.exists():
            return
        params, tensors = load_model(self._path, _KIND)
        kept = params["about"]
        differ = sorted(name for name in {**self._about, **kept} if self._about.get(name) != kept.get(name))
        if differ:
            raise PreconditionError(
                f"{self._path}: is of a run with other {', '.join(differ)}. Take another folder, or remove the file."
            )
        held = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
        for name, module in (("student", trainer.student), ("teacher", trainer.teacher)):
            module.load_state_dict({key: held[f"{name}.{key}"] for key in module.state_dict()})
        moments: dict[int, dict[str, Any]] = {}
        for name, value in held.items():
            if name.startswith("optimiser."):
                _, number, key = name.split(".")
                moments.setdefault(int(number), {})[key] = value
        groups = trainer.optimiser.state_dict()["param_groups"]
        trainer.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        spread = None
        if "spread_labels" in tensors:
            spread = tensors["spread_labels"], tensors["spread_confidence"]
        trainer.context = Context(tensors["neighbors"], tensors["coordinates"], spread)
        trainer.first, trainer.hardest = tensors["first"], tensors.get("hardest")
        if trainer.remembered is not None:
            trainer.remembered.restore(tensors, trainer.device)
        trainer.scores = [float(score) for score in params.get("scores", [])]
        if trainer.scores:
            # It may be of the epoch that was not over when the state was kept: that epoch will write it again.
            _, best = load_model(self._best, _KIND)
            trainer.best = {name: torch.from_numpy(np.array(value)) for name, value in best.items()}
        trainer.epoch, trainer.step = params["epoch"], params["step"]
        trainer.total = torch.full_like(trainer.total, float(params["total"]))
        trainer.history = [float(loss) for loss in params["history"]]


def keeper_of(learner: SelfTaughtLearner, folder: Any, inputs: Inputs, **more: Any) -> Checkpoint | None:
    """Return where a learner's training on inputs is kept; None for no folder. Raises InputError without a seed."""
    if folder is None:
        return None
    if not isinstance(learner.random_state, Integral):
        raise InputError("random_state", repr(learner.random_state), "an integer, for a checkpoint")
    params = {name: said(value) for name, value in {**learner.get_params(deep=False), **more}.items()}
    # What is kept of a mined epoch goes by the anchors: another way to mine has others.
    mining = {} if learner.objective == "self_taught" else {"mining": "2"}
    return Checkpoint(folder, {"rows": said(inputs.rows), "views": said(inputs.views), **mining, **params})
