"""How long a step will still take; of k-means, whose end nobody knows, an upper bound."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from fastclust.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastclust.cli.output import Display
    from fastclust.progress import Progress

__all__ = ["KMeansDisplay", "StepPace", "clock"]

#: Iterations whose median is taken for the next ones: they get quicker as bounds decide more.
_LAST = 5
#: What k-means reports while it reads the rows once.
_PASSES = ("pass", "sums", "read")


class StepPace:
    """How far one step after another is, and how long the one under way will still take."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._step, self._pace = "", Pace(now)

    def rest(self, told: Progress) -> str:
        """What is left of the step that is told of; nothing until its pace has held (:class:`~fastclust.pace.Pace`).

        An upper bound, and called one, where nobody knows how much the step takes.
        """
        if told.step != self._step:
            self._step, self._pace = told.step, Pace(self._now)
        left = self._pace.seconds_left(told.fraction)
        if left is None or told.fraction >= 1.0:
            return ""
        return f"{'at most ' if told.bound else ''}{clock(left)} left of it"

    def show(self, display: Display, told: Progress) -> None:
        """Show a step with what is left of it."""
        display.step(told.step, told.fraction, ", ".join(part for part in (told.message, self.rest(told)) if part))


class KMeansDisplay:
    """Shows a fit of at most ``most`` iterations on a display.

    When it converges nobody knows, so that what is said of the whole is an upper bound and is called one: the
    iterations that are allowed, each as long as the last few.
    """

    def __init__(self, display: Display, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self._display, self._most, self._now = display, most, now
        self._pace = StepPace(now)
        self._ended: float | None = None
        self._took: list[float] = []
        #: Iterations that are left at most, and the last one's description.
        self._left = float(most)
        self.last = ""

    def listen(self, told: Progress) -> None:
        """Take what the library reports."""
        now = self._now()
        if told.step == "kmeans":
            if self._ended is not None:
                self._took.append(now - self._ended)
            self._ended, self._left = now, (1 - told.fraction) * self._most
            self.last = told.message
            self._pace = StepPace(self._now)
            self._display.step("kmeans", told.fraction, f"{told.message}{self._bound(0.0)}")
        elif told.step in _PASSES:
            self._reading(told, now)
        else:
            self._pace.show(self._display, told)

    def _reading(self, told: Progress, now: float) -> None:
        rest = self._pace.rest(told)
        rest = f", {rest}" if rest else ""
        step = "start" if not self.last else "kmeans"
        done = 0.0 if not self.last else 1 - self._left / self._most
        within = f"reading: {100 * told.fraction:.0f} % of the rows{rest}"
        since = 0.0 if self._ended is None else now - self._ended
        said = within if not self.last else f"{self.last} done; {within}{self._bound(since)}"
        # A pass is no step: there are many of them.
        self._display.step(step, min(done, 0.999), said)

    def _bound(self, since: float) -> str:
        if not self._took:
            return ""
        # The labels at the end take one more pass.
        each = statistics.median(self._took[-_LAST:])
        return f"; at most {clock(max(0.0, (self._left + 1) * each - since))} in all"


def clock(seconds: float) -> str:
    """Seconds as 0:42 or 1:02:11."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
