"""When batches are no longer worth it."""

from __future__ import annotations

__all__ = ["Patience"]


class Patience:
    """Ends when centres hardly move, or when the smoothed inertia of the batches has not improved for a while."""

    def __init__(self, tol: float, most: int | None, share: float, verbose: int) -> None:
        self._tol, self._most, self._share, self._verbose = tol, most, share, verbose
        self._smooth: float | None = None
        self._least: float | None = None
        self._without = 0

    def over(self, step: int, steps: int, inertia: float, moved: float) -> bool:
        """Whether batch ``step`` (from 1) was the last; ``inertia`` is a row's, ``moved`` is squared."""
        if step == 1:
            # The inertia of the start says nothing of the batches.
            self._say(f"Minibatch step {step}/{steps}: mean batch inertia: {inertia}")
            return False
        self._smooth = inertia if self._smooth is None else self._smooth * (1 - self._share) + inertia * self._share
        self._say(f"Minibatch step {step}/{steps}: mean batch inertia: {inertia}, ewa inertia: {self._smooth}")
        if self._tol > 0 and moved <= self._tol:
            self._say(f"Converged (small centers change) at step {step}/{steps}")
            return True
        if self._least is None or self._smooth < self._least:
            self._without, self._least = 0, self._smooth
        else:
            self._without += 1
        if self._most is not None and self._without >= self._most:
            self._say(f"Converged (lack of improvement in inertia) at step {step}/{steps}")
            return True
        return False

    def _say(self, sentence: str) -> None:
        if self._verbose:
            print(sentence)  # noqa: T201
