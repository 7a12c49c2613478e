"""Tells watchers that their jobs changed: one query for all of them, and of fast changes only the newest state.

A watch holds no thread while nothing changes. Each sends one state at a time, in a thread that it holds only for that:
a watcher that does not read keeps nobody else waiting.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from fastclust.errors import UnavailableError
from fastclust_server import log
from fastclust_server.jobs.records import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from fastclust_server.jobs.records import JobRecord
    from fastclust_server.jobs.store import JobStore

__all__ = ["Notifier", "Watch"]

#: Workers write from their own processes, so changes are looked for; one number is read each time.
_LOOK_SECONDS = 0.1
_TROUBLE_SECONDS = 1.0


class Watch:
    """One watcher's view of one job.

    Parameters
    ----------
    seen
        States up to this sequence are not sent.
    send, end
        Called with states one after another, and once with the reason of the end: None after the job's last state.
    """

    def __init__(
        self,
        seen: int,
        send: Callable[[JobRecord], None],
        end: Callable[[BaseException | None], None],
        executor: Executor,
    ) -> None:
        self._seen = seen
        self._send = send
        self._end = end
        self._executor = executor
        self._guard = threading.Lock()
        self._newest: JobRecord | None = None
        self._reason: BaseException | None = None
        self._closing = self._busy = self._over = False

    def put(self, record: JobRecord) -> None:
        """Replace what was not sent yet."""
        with self._guard:
            if self._newest is None or record.sequence > self._newest.sequence:
                self._newest = record
        self._pump()

    def close(self, reason: BaseException | None) -> None:
        """End the watch after what is being sent."""
        with self._guard:
            if not self._closing:
                self._closing, self._reason = True, reason
        self._pump()

    def forget(self) -> None:
        """The caller is gone: send nothing more."""
        with self._guard:
            self._over = True

    def _pump(self) -> None:
        with self._guard:
            if self._busy or self._over or not (self._closing or self._newest is not None):
                return
            self._busy = True
        self._executor.submit(self._run)

    def _run(self) -> None:
        try:
            while True:
                with self._guard:
                    record, self._newest = self._newest, None
                    if self._over or (record is None and not self._closing):
                        self._busy = False
                        return
                if record is None:
                    self._finish(self._reason)
                    return
                if record.sequence > self._seen:
                    self._send(record)
                    self._seen = record.sequence
                if record.state in ENDED:
                    self._finish(None)
                    return
        except Exception as error:  # noqa: BLE001 - the call must end, whatever encoding or sending raises
            self._finish(error)

    def _finish(self, reason: BaseException | None) -> None:
        with self._guard:
            if self._over:
                return
            self._over = True
        self._end(reason)


class Notifier:
    """One thread a server, at work only while somebody watches."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._watches: dict[str, set[Watch]] = {}
        self._bell = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="notifier")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def add(self, job: str, watch: Watch) -> Callable[[], None]:
        """Have ``watch`` told of changes of a job; call what is returned when it shall be no more."""
        with self._guard:
            closed = self._closed
            if not closed:
                self._watches.setdefault(job, set()).add(watch)
        if closed:
            watch.close(_shutting_down())
        self._bell.set()

        def remove() -> None:
            watch.forget()
            with self._guard:
                others = self._watches.get(job, set())
                others.discard(watch)
                if not others:
                    self._watches.pop(job, None)

        return remove

    def wake(self) -> None:
        """Look now: this process changed something. Any thread."""
        self._bell.set()

    def close(self) -> None:
        """End all watches."""
        with self._guard:
            self._closed = True
            watches = [watch for some in self._watches.values() for watch in some]
        for watch in watches:
            watch.close(_shutting_down())
        self._bell.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        seen: int | None = None
        while True:
            # In this order: who closes rings after it has closed.
            self._bell.clear()
            if self._closed:
                return
            try:
                if seen is None:
                    # A watcher reads its job after it has begun to watch, so changes before that are not missed.
                    seen = self._store.sequence()
                seen = self._look(seen)
            except SQLAlchemyError as error:
                log.failure("watch_failed", error)
                self._bell.wait(_TROUBLE_SECONDS)
            with self._guard:
                watched = bool(self._watches)
            self._bell.wait(_LOOK_SECONDS if watched else None)

    def _look(self, seen: int) -> int:
        """Hand out what changed after ``seen``; return up to where that was looked for."""
        newest = self._store.sequence()
        # In this order: a watch that begins after this reads its job later still, and so knows all up to ``newest``.
        # In the other, one that began between the two would not be told of a change that came between them as well.
        with self._guard:
            watched = list(self._watches)
        if newest > seen and watched:
            for record in self._store.changed_since(seen, watched):
                with self._guard:
                    watches = list(self._watches.get(record.id, ()))
                for watch in watches:
                    watch.put(record)
        return newest


def _shutting_down() -> UnavailableError:
    return UnavailableError("The server is shutting down. Watch again in a moment; the job is safe.")
