"""Tells watchers that their jobs changed: one query for all of them, and of fast changes only the newest state."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastclust.errors import UnavailableError
from fastclust_server import log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastclust_server.jobs.records import JobRecord
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.threads import Threads

__all__ = ["Notifier", "Watch"]

#: Workers write from their own processes, so changes are looked for; one number is read each time.
_LOOK_SECONDS = 0.1


class Watch:
    """One watcher's view of one job."""

    def __init__(self) -> None:
        self._newest: JobRecord | None = None
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, record: JobRecord) -> None:
        """Replace what was not read yet."""
        self._newest = record
        self._changed.set()

    def close(self) -> None:
        """End the watch: the server stops."""
        self._closed = True
        self._changed.set()

    async def newer_than(self, sequence: int) -> JobRecord:
        """Wait for a state beyond ``sequence``. Raises UnavailableError when the server stops."""
        while True:
            if self._newest is not None and self._newest.sequence > sequence:
                return self._newest
            if self._closed:
                raise UnavailableError("The server is shutting down. Watch again in a moment; the job is safe.")
            self._changed.clear()
            await self._changed.wait()


class Notifier:
    """One poller a server, at work only while somebody watches."""

    def __init__(self, store: JobStore, threads: Threads) -> None:
        self._store = store
        self._threads = threads
        self._watches: dict[str, set[Watch]] = {}
        self._wake = asyncio.Event()
        self._closed = False

    @contextmanager
    def watching(self, job: str) -> Iterator[Watch]:
        """Watch a job inside the block."""
        watch = Watch()
        if self._closed:
            watch.close()
        self._watches.setdefault(job, set()).add(watch)
        self._wake.set()
        try:
            yield watch
        finally:
            others = self._watches[job]
            others.discard(watch)
            if not others:
                del self._watches[job]

    def wake(self) -> None:
        """Look now: this process changed something."""
        self._wake.set()

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        for watches in self._watches.values():
            for watch in watches:
                watch.close()
        self._wake.set()

    async def run(self) -> None:
        """Look for changes until the server stops."""
        # A watcher reads its job after it has begun to watch, so changes before that are not missed.
        seen = await self._threads.store(self._store.sequence)
        while not self._closed:
            try:
                seen = await self._look(seen)
            except Exception as error:  # noqa: BLE001 - one failed query must not end all watches for ever
                log.failure("watch_failed", error)
                await asyncio.sleep(1.0)
            await self._pause()

    async def _look(self, seen: int) -> int:
        newest = await self._threads.store(self._store.sequence)
        if newest > seen and self._watches:
            for record in await self._threads.store(self._store.changed_since, seen, list(self._watches)):
                for watch in self._watches.get(record.id, ()):
                    watch.put(record)
        return newest

    async def _pause(self) -> None:
        if self._watches:
            try:
                await asyncio.wait_for(self._wake.wait(), _LOOK_SECONDS)
            except TimeoutError:
                return
        else:
            await self._wake.wait()
        self._wake.clear()
