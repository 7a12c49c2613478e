"""Carries progress of a running job out, and the wish to stop in."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from fastclust.errors import OperationCancelledError
from fastclust_server import log
from fastclust_server.jobs.store import LostClaimError

if TYPE_CHECKING:
    from fastclust.progress import Progress
    from fastclust_server.jobs.records import Claim
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.jobs.tracker import Tracker

__all__ = ["CANCEL", "LOST", "SHUTDOWN", "Heartbeat"]

CANCEL, LOST, SHUTDOWN = "cancel", "lost", "shutdown"

_LOOK_SECONDS = 0.25
#: Each write is a sync of the disk.
_WRITE_SECONDS = 0.5


class Heartbeat:
    """One attempt's thread. ``listen`` is the library's progress listener; it raises when the job shall stop."""

    def __init__(self, store: JobStore, claim: Claim, tracker: Tracker) -> None:
        self._store = store
        self._claim = claim
        self._tracker = tracker
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
