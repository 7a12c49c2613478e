"""What a training on a cluster tells its driver, and what it is told: an actor beside the driver."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastclust.errors import OperationCancelledError

if TYPE_CHECKING:
    from fastclust.progress import Progress

__all__ = ["Board", "Teller"]

#: Seconds between two words to the driver.
_EVERY = 0.2


class Board:
    """Progress, figures and the end of a training. As an actor of its own it outlives the workers."""

    def __init__(self) -> None:
        self._told: Progress | None = None
        self._figures: list[tuple[str, float, int]] = []
        self._stopped = False
        self._leader: Any = None
        self._ended: Any = None

    def tell(self, told: Progress | None, figures: list[tuple[str, float, int]]) -> bool:
        """Note how far the training is, and figures (name, value, step); return whether it is to stop."""
        self._told = told or self._told
        self._figures += figures
        return self._stopped

    def hear(self) -> tuple[Progress | None, list[tuple[str, float, int]]]:
        """Return what was told since the last time."""
        heard = self._told, self._figures
        self._told, self._figures = None, []
        return heard

    def lead(self, leader: Any) -> bool:
        """Note the actor that has the workers; return whether the training is to stop."""
        self._leader = leader
        return self._stopped

    def stop(self) -> Any:
        """Have the training stop; return the actor that has the workers, None before there is one."""
        self._stopped = True
        return self._leader

    def end(self, value: Any) -> None:
        """Note the result, or an error that another attempt would only find again; the first one counts."""
        if self._ended is None:
            self._ended = value

    def ended(self) -> Any:
        """Return what the training ended with; None: with nothing yet."""
        return self._ended


class Teller:
    """In the first worker: tells the board, now and then, and stops the work when the board says so."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._figures: list[tuple[str, float, int]] = []
        self._last = 0.0

    def listen(self, told: Progress) -> None:
        """Hear progress. Raises OperationCancelledError."""
        if time.monotonic() - self._last >= _EVERY:
            self._last = time.monotonic()
            self.send(told)

    def figure(self, name: str, value: float, step: int) -> None:
        """Hear a figure."""
        self._figures.append((name, value, step))

    def send(self, told: Progress | None = None) -> None:
        """Tell the board. Raises OperationCancelledError."""
        import ray

        figures, self._figures = self._figures, []
        if ray.get(self._board.tell.remote(told, figures)):
            raise OperationCancelledError("the training was stopped.")
