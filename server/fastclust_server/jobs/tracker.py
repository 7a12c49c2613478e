"""Turns the library's progress reports into the JobProgress that clients see."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from fastclust.pace import Pace
from fastclust.progress import NOTICE
from fastclust.v1 import job_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from fastclust.progress import Progress

__all__ = ["Tracker", "encode_steps"]

#: Until the result is published, the job is not done.
_NEARLY = 0.99


class Tracker:
    """Collects reports of one attempt; read by the heartbeat's thread.

    Parameters
    ----------
    weights
        The steps to come, in order, with their shares of the time, about; empty for work that says itself how far the
        whole is. Steps that are not among them are parts of others: they are told of and do not move the whole on.

    Of the time left is told what can be known: that of the step under way, once its pace has held; of the whole only
    in the last step. Shares of the time are guesses, and how long one step takes says nothing of another.
    """

    def __init__(self, weights: Mapping[str, float], now: Callable[[], float] = time.monotonic) -> None:
        total = sum(weights.values()) or 1.0
        self._begin: dict[str, float] = {}
        self._share = {name: weight / total for name, weight in weights.items()}
        reached = 0.0
        for name, share in self._share.items():
            self._begin[name] = reached
            reached += share
        self._last = next(reversed(self._share), "")
        self._guard = threading.Lock()
        self._now, self._pace = now, Pace(now)
        self._steps: dict[str, job_pb2.JobStep] = {}
        self._step_started = now()
        self._step_spent = 0.0
        self._fraction = 0.0
        self._step = ""
        self._message = ""
        #: Share of the step under way, and whether the work has no other way to go than through all of it.
        self._done, self._known = 0.0, False

    def update(self, progress: Progress) -> None:
        """Take one report in."""
        now = self._now()
        with self._guard:
            if progress.step == NOTICE:
                self._message = progress.message
                return
            step = self._steps.setdefault(progress.step, job_pb2.JobStep(name=progress.step))
            if progress.step != self._step:
                self._step, self._step_started, self._step_spent = progress.step, now, step.seconds
                self._pace = Pace(self._now)
            step.fraction = max(step.fraction, progress.fraction)
            step.seconds = self._step_spent + now - self._step_started
            step.reused = progress.message == "reused"
            self._message = progress.message
            self._done, self._known = progress.fraction, not progress.bound
            self._fraction = max(self._fraction, min(self._whole(progress), _NEARLY))

    def _whole(self, progress: Progress) -> float:
        if progress.overall is not None:
            return progress.overall
        if progress.step in self._share:
            return self._begin[progress.step] + self._share[progress.step] * progress.fraction
        return 0.0

    def message(self) -> job_pb2.JobProgress:
        """Return the state now."""
        with self._guard:
            message = job_pb2.JobProgress(
                fraction=self._fraction, step=self._step, message=self._message[:300], steps=self._steps.values()
            )
            left = self._pace.seconds_left(self._done)
            if left is not None and self._known and self._done < 1.0:
                left = round(left)  # each change is a write, and no pace is known to a tenth
                next(step for step in message.steps if step.name == self._step).seconds_left = left
                if self._step == self._last:
                    message.seconds_left = left
            return message

    def finished(self, steps: Sequence[job_pb2.JobStep] | None = None) -> job_pb2.JobProgress:
        """Return the final state; ``steps`` replaces what was timed here by what the work itself recorded."""
        message = self.message()
        message.fraction = 1.0
        message.ClearField("seconds_left")
        message.ClearField("message")
        if steps is not None:
            del message.steps[:]
            message.steps.extend(steps)
        for step in message.steps:
            step.fraction = 1.0
            step.ClearField("seconds_left")
        return message


def encode_steps(records: Sequence[Mapping[str, Any]]) -> list[job_pb2.JobStep]:
    """Encode the steps of a ``run.json``."""
    return [
        job_pb2.JobStep(name=step["name"], fraction=1.0, seconds=step["seconds"], reused=step["reused"])
        for step in records
    ]
