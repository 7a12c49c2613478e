"""Keeps a k-means fit on disk after each iteration, and takes it up again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.artifacts import load_model, save_model
from fastclust.cluster.lloyd import Fit, Kept
from fastclust.data import RowSource, open_rows
from fastclust.errors import PreconditionError

if TYPE_CHECKING:
    import os

    from numpy.random import RandomState
    from numpy.typing import NDArray

__all__ = ["Checkpoint", "fingerprint", "reached"]

_KIND = "kmeans_checkpoint"
_FILE = "checkpoint.safetensors"
#: Parameters that change where a fit runs and what it says, not what it finds.
_ELSEWHERE = ("verbose", "copy_x", "address", "memory", "threads")


def fingerprint(X: Any, weights: NDArray[np.float64] | None, params: dict[str, Any]) -> dict[str, str]:
    """What must be the same for a fit to be taken up: the rows, their weights and the parameters, as short texts."""
    source = X if isinstance(X, RowSource) else None if hasattr(X, "tocsr") else open_rows(X)
    rows = f"{X.shape} {X.nnz} {float(X.sum())!r}" if source is None else source.identity()
    each = "" if weights is None else hashlib.blake2b(weights.tobytes(), digest_size=16).hexdigest()
    said = {name: _said(value) for name, value in params.items() if name not in _ELSEWHERE}
    return {"rows": rows, "sample_weight": each, **said}


def _said(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).hexdigest()
    components = getattr(value, "components_", None)
    return repr(value) if components is None else _said(components)


def reached(folder: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Return the run, from 0 on, and the iteration that a folder's checkpoint holds; None without one."""
    path = Path(folder) / _FILE
    if not path.exists():
        return None
    params, _ = load_model(path, _KIND)
    return int(params["run"]), int(params["n_iter"])


class Checkpoint:
    """One file in a folder: where a fit of several runs is.

    Raises
    ------
    PreconditionError
        The folder holds another fit.
    DataError
        The file cannot be read.
    """

    def __init__(self, folder: str | os.PathLike[str], about: dict[str, str], random: RandomState) -> None:
        self._path = Path(folder) / _FILE
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._about = about
        #: The run that is under way, its start, and the best of those before.
        self.run = 0
        self.start: NDArray[Any] | None = None
        self.start_name = ""
        self.best: Fit | None = None
        self._kept: Kept | None = None
        self._random = random
        self._state = self._random.get_state(legacy=False)
        if self._path.exists():
            self._load()

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._path.parent

    def _load(self) -> None:
        params, tensors = load_model(self._path, _KIND)
        differ = sorted(name for name, said in self._about.items() if params["about"].get(name) != said)
        if differ:
            raise PreconditionError(
                f"{self._path}: is of a fit with other {', '.join(differ)}. Take another folder, or remove the file."
            )
        self.run, self.start_name = params["run"], params["start_name"]
        self.start = tensors["start"]
        state = {"key": tensors["random"], "pos": params["random_pos"]}
        gauss = {"has_gauss": params["has_gauss"], "gauss": float(params["gauss"])}
        self._random.set_state({"bit_generator": "MT19937", "state": state, **gauss})
        self._state = self._random.get_state(legacy=False)
        if "best_centers" in tensors:
            found = params["best"]
            # Labels are found again at the end, where this fit is the best one.
            self.best = Fit(tensors["best_centers"], np.empty(0, np.int32), **found)
        if params["n_iter"]:
            sums = {name[5:]: value for name, value in tensors.items() if name.startswith("sums_")}
            self._kept = Kept(tensors["before"], tensors["centers"], params["n_iter"], params["stopped"], sums)

    def begin(self, run: int, start: NDArray[Any], name: str, best: Fit | None) -> None:
        """Keep that a run starts."""
        self.run, self.start, self.start_name, self.best, self._kept = run, start, name, best, None
        self._state = self._random.get_state(legacy=False)
        self._write(None)

    def keep(self, now: Kept) -> None:
        """Keep an iteration."""
        self._write(now)

    def kept(self) -> Kept | None:
        """Return the last iteration of the attempt before, once."""
        kept, self._kept = self._kept, None
        return kept

    def _write(self, now: Kept | None) -> None:
        assert self.start is not None
        state: dict[str, Any] = self._state
        params: dict[str, Any] = {
            "about": self._about,
            "run": self.run,
            "start_name": self.start_name,
            "random_pos": state["state"]["pos"],
            "has_gauss": state["has_gauss"],
            "gauss": repr(float(state["gauss"])),
            "n_iter": 0 if now is None else now.n_iter,
            "stopped": now is not None and now.stopped,
        }
        tensors: dict[str, NDArray[Any]] = {"start": self.start, "random": state["state"]["key"]}
        if self.best is not None:
            params["best"] = {
                "inertia": self.best.inertia,
                "n_iter": self.best.n_iter,
                "backend": self.best.backend,
                "algorithm": self.best.algorithm,
            }
            tensors["best_centers"] = self.best.centers
        if now is not None:
            tensors |= {"before": now.before, "centers": now.centers}
            tensors |= {f"sums_{name}": value for name, value in now.sums.items()}
        save_model(self._path, _KIND, json.loads(json.dumps(params)), tensors)
