"""Our own optimiser of t-SNE: momentum and gains as in openTSNE, with a state that can be kept."""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from fastclust import progress
from fastclust.artifacts import load_model, save_model
from fastclust.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from fastclust.maps.recorder import Recorder

__all__ = ["Finished", "Optimizer", "Phase", "State", "threads"]

#: Points move to new places in memory, near their neighbours on the map, before these iterations: the map changes most
#: in the beginning.
_REORDER = frozenset((0, 30, 100, 200, 300, 500))
#: Below this many points everything is in the cache anyway.
_WORTH_ORDER = 10_000
#: Seconds between two looks at progress.
_EVERY = 0.1
_KIND = "tsne_state"


class Phase(NamedTuple):
    """A stretch of iterations with the same settings."""

    iterations: int
    exaggeration: float
    momentum: float


class State(Protocol):
    """A map with what its optimiser remembers of it, somewhere."""

    def step(self, exaggeration: float, learning_rate: float, momentum: float) -> None:
        """Move all points once."""

    def rearrange(self) -> None:
        """Put points near their neighbours in memory."""

    def placed(self) -> NDArray[np.float32]:
        """The points ``[n, dimensions]`` in the order of the rows."""

    def divergence(self) -> float:
        """KL(P || Q), without exaggeration."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All there is to remember."""

    def restore(self, arrays: dict[str, NDArray[Any]], *, moved: bool) -> None:
        """Take up what :meth:`arrays` gave; ``moved`` if points were rearranged."""


class Finished(NamedTuple):
    """What an optimisation leaves."""

    #: float32 [n, dimensions]
    points: NDArray[np.float32]
    #: KL(P || Q), without exaggeration.
    divergence: float
    iterations: int
    #: Iteration of the checkpoint that was taken up; 0 where there was none.
    resumed_from: int = 0


class Optimizer:
    """Gradient descent with momentum and gains from ``start`` ``[n, dimensions]`` under the affinities ``P``.

    The same bits come out whatever the number of threads, and whether or not the work was interrupted and resumed.

    Parameters
    ----------
    P
        Symmetric SciPy CSR matrix ``[n, n]`` that sums to 1.
    schedule
        Phases, one after the other.
    learning_rate
        "auto" is n / exaggeration (Belkina et al., 2019).
    fixed
        Boolean ``[n]``: points that stay where they begin; None for none. Without fixed points the map's mean is 0.
    checkpoint, checkpoint_every, checkpoint_seconds
        A file to keep the state in, at which iterations, and how long after the last time at least. If the file exists,
        the work goes on from it.

    device, kernels
        None to work in NumPy arrays; a torch device to work there, with torch's own operations or with "triton".

    Raises
    ------
    InputError
        The checkpoint belongs to other affinities, another start or other settings.
    """

    def __init__(
        self,
        P: Any,
        start: NDArray[Any],
        *,
        schedule: Sequence[Phase],
        learning_rate: float | str = "auto",
        fixed: NDArray[np.bool_] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 50,
        checkpoint_seconds: float = 1.0,
        device: Any = None,
        kernels: str = "torch",
    ) -> None:
        self._schedule = list(schedule)
        self._rate = learning_rate
        self._n = len(start)
        points = np.array(start, np.float32, order="C")
        self._state: State
        if device is None:
            from fastclust.maps.host_state import HostState

            self._state = HostState(P, points, fixed)
        else:
            from fastclust.maps.device_state import DeviceState

            self._state = DeviceState(P, points, fixed, device, kernels)
        self.iteration = self._resumed_from = 0
        self.total = sum(phase.iterations for phase in self._schedule)
        self._checkpoint, self._every, self._seconds = checkpoint, checkpoint_every, checkpoint_seconds
        self._identity = ""
        if checkpoint is not None:
            self._identity = _identity(P, points, self._schedule, learning_rate, fixed, device, kernels)
            self._resume(checkpoint)

    @property
    def points(self) -> NDArray[np.float32]:
        """The map as it is, in the order of the rows."""
        return self._state.placed()

    def divergence(self) -> float:
        """KL(P || Q) of the map as it is; costs about two iterations."""
        return self._state.divergence()

    def run(
        self,
        callback: Callable[[int, float, NDArray[np.float32]], Any] | None = None,
        callback_every: int = 10,
        recorder: Recorder | None = None,
    ) -> Finished:
        """Go through what is left of the schedule, or until ``callback(iteration, divergence, points)`` returns true.

        What a progress listener or the callback raises ends the work.
        """
        told, saved = -np.inf, time.monotonic()
        if recorder is not None:
            recorder.look(self)
        while self.iteration < self.total:
            now = time.monotonic()
            if now - told >= _EVERY:
                progress.report("tsne", self.iteration, self.total, f"iteration {self.iteration}")
                told = now
            self.step()
            due = self.iteration % self._every == 0 and time.monotonic() - saved >= self._seconds
            if self._checkpoint is not None and (due or self.iteration == self.total):
                self.save(self._checkpoint)
                saved = time.monotonic()
            if recorder is not None:
                recorder.look(self)
            wanted = callback is not None and self.iteration % callback_every == 0
            if wanted and callback is not None and callback(self.iteration, self.divergence(), self.points):
                break
        divergence = self.divergence()
        progress.report("tsne", self.total, self.total, f"iteration {self.iteration}, KL {divergence:.3f}")
        return Finished(self.points, divergence, self.iteration, self._resumed_from)

    def step(self) -> None:
        """Do one iteration."""
        phase = self._phase()
        if self.iteration in _REORDER and self._n >= _WORTH_ORDER:
            self._state.rearrange()
        rate = self._n / phase.exaggeration if self._rate == "auto" else float(self._rate)
        self._state.step(phase.exaggeration, rate, phase.momentum)
        self.iteration += 1

    def save(self, path: str | os.PathLike[str]) -> None:
        """Keep the state: 28 bytes a point in two dimensions. The file is whole or not there."""
        save_model(path, _KIND, {"iteration": self.iteration, "identity": self._identity}, self._state.arrays())

    def _resume(self, path: str | os.PathLike[str]) -> None:
        from pathlib import Path

        if not Path(path).exists():
            return
        params, state = load_model(path, _KIND)
        if params["identity"] != self._identity:
            raise InputError(
                "checkpoint",
                f"{path}, of other rows, another start or other settings",
                "a checkpoint of this very fit, or a file that does not exist",
                "Delete it to begin anew.",
            )
        self.iteration = self._resumed_from = int(params["iteration"])
        self._state.restore(state, moved=self._n >= _WORTH_ORDER)

    def _phase(self) -> Phase:
        before = 0
        for phase in self._schedule:
            before += phase.iterations
            if self.iteration < before:
                return phase
        raise IndexError(f"iteration {self.iteration} of {self.total}")


def _identity(P: Any, start: NDArray[np.float32], *settings: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in (P.indptr, P.indices, P.data, start):
        digest.update(str((array.dtype, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)
    for setting in settings:
        digest.update(setting.tobytes() if isinstance(setting, np.ndarray) else repr(setting).encode())
    return digest.hexdigest()


@contextmanager
def threads(n_jobs: int | None) -> Iterator[None]:
    """Work with so many threads: None for all that Numba was started with, -1 for all, -2 for all but one."""
    import numba

    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    before = numba.get_num_threads()
    wanted = before if n_jobs is None else most + 1 + n_jobs if n_jobs < 0 else n_jobs
    numba.set_num_threads(min(max(wanted, 1), most))
    try:
        yield
    finally:
        numba.set_num_threads(before)
