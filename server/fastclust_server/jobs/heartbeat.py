"""Carries progress of a running job out, and the wish to stop in."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from fastclust.errors import OperationCancelledError
from fastclust_server import log
from fastclust_server.jobs.store import LostClaimError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastclust.progress import Progress
    from fastclust_server.jobs.records import Claim
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.jobs.tracker import Tracker

__all__ = ["CANCEL", "LOST", "MEMORY", "SHUTDOWN", "TIME", "Heartbeat", "Limits"]

CANCEL, LOST, SHUTDOWN, TIME, MEMORY = "cancel", "lost", "shutdown", "time", "memory"

_LOOK_SECONDS = 0.25
#: Each write is a sync of the disk.
_WRITE_SECONDS = 0.5
#: After a limit told the work to stop.
_FORCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may take; 0: as much as there is."""

    seconds: float = 0.0
    #: Anonymous memory beyond what the worker had when the job began.
    memory_bytes: int = 0


def anonymous_bytes() -> int:
    """Memory of this process that no file stands behind."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


class Heartbeat:
    """One attempt's thread. ``listen`` is the library's progress listener; it raises when the job shall stop."""

    def __init__(
        self,
        store: JobStore,
        claim: Claim,
        tracker: Tracker,
        limits: Limits | None = None,
        overdue: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._claim = claim
        self._tracker = tracker
        self._limits = limits or Limits()
        #: Called, from this thread, when the work goes on although a limit told it to stop.
        self._overdue = overdue
        self._began = time.monotonic()
        self._base = anonymous_bytes()
        self._told: float | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        #: Why the work shall stop; None: it shall not.
        self.reason: str | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End; nothing is written after it."""
        self._end.set()
        self._thread.join()

    def stop(self, reason: str) -> None:
        """Ask the work to stop at its next report."""
        self.reason = self.reason or reason

    def listen(self, progress: Progress) -> None:
        """Take a report. Raises OperationCancelledError when the work shall stop."""
        self._tracker.update(progress)
        self.check()

    def check(self) -> None:
        """Raise OperationCancelledError when the work shall stop."""
        if self.reason is not None:
            raise OperationCancelledError(f"Stopped: {self.reason}.")

    def _run(self) -> None:
        written, sent = 0.0, b""
        while not self._end.wait(_LOOK_SECONDS):
            self._look_at_limits()
            progress = self._tracker.message().SerializeToString()
            now = time.monotonic()
            due = progress != sent and now - written >= _WRITE_SECONDS
            try:
                wanted = self._store.heartbeat(self._claim, progress if due else None)
            except LostClaimError:
                self.stop(LOST)
                return
            except SQLAlchemyError as error:
                # Locked or full for a moment; the supervisor sees to workers that are really gone.
                log.failure("heartbeat_failed", error, job=self._claim.job, attempt=self._claim.attempt)
                continue
            if due:
                written, sent = now, progress
            if wanted:
                self.stop(CANCEL)

    def _look_at_limits(self) -> None:
        now, limits = time.monotonic(), self._limits
        if limits.seconds and now - self._began > limits.seconds:
            self.stop(TIME)
        taken = anonymous_bytes() - self._base if limits.memory_bytes else 0
        if taken > limits.memory_bytes:
            self.stop(MEMORY)
        if self.reason not in {TIME, MEMORY}:
            return
        self._told = self._told or now
        # Memory does not wait for the next report: what runs away would take the machine with it.
        far = taken > 1.5 * limits.memory_bytes
        if self._overdue is not None and (far or now - self._told > _FORCE_SECONDS):
            self._overdue(self.reason)
