"""What a map looked like on its way: frames for an animation, and the divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Moving", "Recorder"]


class Moving(Protocol):
    """What is looked at: an optimiser."""

    iteration: int

    @property
    def points(self) -> NDArray[np.float32]:
        """The map as it is ``[n, dimensions]``."""

    def divergence(self) -> float:
        """KL(P || Q) of it."""


class Recorder:
    """Keeps ``frames`` maps, evenly spaced from the first to the last of ``total`` iterations, and divergences.

    After an interrupted fit is resumed, only what comes after the checkpoint is seen.
    """

    def __init__(self, total: int, frames: int | None = None, divergence_every: int | None = None) -> None:
        wanted = np.linspace(0, total, frames).round().astype(np.int64) if frames is not None else ()
        self._wanted = {int(each) for each in wanted}
        self._every, self._total = divergence_every, total
        self._frames: list[NDArray[np.float32]] = []
        self._at: list[int] = []
        self._divergences: list[tuple[int, float]] = []

    def look(self, optimizer: Moving) -> None:
        """Keep what is wanted of the map as it is; called before the first iteration and after each."""
        now = optimizer.iteration
        if now in self._wanted:
            self._frames.append(optimizer.points)
            self._at.append(now)
        if self._every is not None and (now % self._every == 0 or now == self._total):
            self._divergences.append((now, optimizer.divergence()))

    @property
    def frames(self) -> NDArray[np.float32] | None:
        """float32 ``[frames, n, dimensions]``; None where none are wanted."""
        return np.stack(self._frames) if self._frames else None

    @property
    def frame_iterations(self) -> NDArray[np.int64]:
        """The iteration of each frame."""
        return np.array(self._at, np.int64)

    @property
    def divergences(self) -> NDArray[np.float64]:
        """Rows of (iteration, KL) ``[m, 2]``."""
        return np.array(self._divergences, np.float64).reshape(-1, 2)
