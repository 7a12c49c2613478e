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
        Steps in order, with their shares of the time, for work that has several steps and does not say how far the
        whole is.
    """

    def __init__(self, weights: Mapping[str, float], now: Callable[[], float] = time.monotonic) -> None:
        total = sum(weights.values()) or 1.0
        self._begin: dict[str, float] = {}
        self._share = {name: weight / total for name, weight in weights.items()}
        reached = 0.0
        for name, share in self._share.items():
            self._begin[name] = reached
            reached += share
        self._guard = threading.Lock()
        self._now, self._pace = now, Pace(now)
        self._steps: dict[str, job_pb2.JobStep] = {}
        self._step_started = now()
        self._fraction = 0.0
        self._step = ""
        self._message = ""

    def update(self, progress: Progress) -> None:
        """Take one report in."""
        now = self._now()
        with self._guard:
            if progress.step == NOTICE:
                self._message = progress.message
                return
            if progress.step != self._step:
                self._step, self._step_started = progress.step, now
            step = self._steps.setdefault(progress.step, job_pb2.JobStep(name=progress.step))
            step.fraction = max(step.fraction, progress.fraction)
            step.seconds = now - self._step_started
            step.reused = progress.message == "reused"
            self._message = progress.message
            whole = progress.overall
            if whole is None:
                whole = self._begin.get(progress.step, 0.0) + self._share.get(progress.step, 1.0) * progress.fraction
            self._fraction = max(self._fraction, min(whole, _NEARLY))

    def message(self) -> job_pb2.JobProgress:
        """Return the state now."""
        with self._guard:
            message = job_pb2.JobProgress(
                fraction=self._fraction, step=self._step, message=self._message[:300], steps=self._steps.values()
            )
            left = self._pace.seconds_left(self._fraction)
            if left is not None:
                message.seconds_left = round(left, 1)
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
        return message


def encode_steps(records: Sequence[Mapping[str, Any]]) -> list[job_pb2.JobStep]:
    """Encode the steps of a ``run.json``."""
    return [
        job_pb2.JobStep(name=step["name"], fraction=1.0, seconds=step["seconds"], reused=step["reused"])
        for step in records
    ]
