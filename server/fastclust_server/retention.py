"""Forgets what was kept long enough: uploads that nobody goes on with, and ended jobs where the set-up says so."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from fastclust.errors import FastclustError
from fastclust_server import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastclust_server.config import Settings
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.storage.folder import DataFolder
    from fastclust_server.storage.uploads import Uploads

__all__ = ["Retention"]

_TURN_SECONDS = 60.0
_DAY = 86_400.0


class Retention:
    """One thread that looks every minute."""

    def __init__(
        self,
        folder: DataFolder,
        store: JobStore,
        uploads: Uploads,
        settings: Settings,
        *,
        removed: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._store = store
        self._uploads = uploads
        self._keep = settings.keep_jobs * _DAY
        self._removed = removed
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()

    def expire(self) -> None:
        """Forget what is due now."""
        try:
            uploads = self._uploads.expire()
            jobs = 0
            if self._keep > 0:
                for owner, job in self._store.ended_before(time.time() - self._keep):
                    jobs += self._forget(owner, job)
        except (SQLAlchemyError, OSError) as error:
            log.failure("expire_failed", error)  # tried again at the next turn
        else:
            if uploads or jobs:
                log.event("expired", uploads=uploads, jobs=jobs)

    def _forget(self, owner: str, job: str) -> bool:
        try:
            self._store.delete(owner, job)
        except FastclustError:
            return False  # read by another job, or deleted meanwhile
        self._removed(job)
        self._folder.tidy(job, [])
        return True

    def _run(self) -> None:
        while not self._end.wait(_TURN_SECONDS):
            self.expire()
