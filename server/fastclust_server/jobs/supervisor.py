"""Keeps one worker process alive, and puts back what a dead one held.

All of it happens in one thread that lives as long as the server, because the kernel ties a worker's death signal to
the thread that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sqlalchemy.exc import SQLAlchemyError

from fastclust_server import log, names
from fastclust_server.child import ENVIRONMENT, command
from fastclust_server.jobs.records import ENDED
from fastclust_server.jobs.store import LEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastclust_server.config import Settings
    from fastclust_server.jobs.records import JobRecord
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.storage.folder import DataFolder

__all__ = ["Supervisor"]

_LOOK_SECONDS = 0.5
_RENEW_SECONDS = 5.0
#: Between SIGTERM and SIGKILL.
_LAST_SECONDS = 2.0
#: A worker that died sooner than this after its start is started again later and later.
_SETTLED_SECONDS = 10.0
_LONGEST_PAUSE = 30.0


@dataclass
class _Running:
    """A worker process. It leads a process group of its own, so that its children die with it."""

    id: str
    process: subprocess.Popen[bytes]
    handle: int
    started: float
    #: When it was told to end by SIGTERM; None: it was not.
    terminated: float | None = None
    #: Whether its end is our doing, so that the job is not blamed for it.
    ours: bool = False


class Supervisor:
    """Starts the worker, restarts it when it dies, and forces it when a job does not stop by itself.

    Parameters
    ----------
    changed
        Called, from the supervisor's thread, when it changed a job.
    settings
        ``grace``: seconds that a cancelled job, or the worker at shutdown, gets to stop by itself.
    environment
        What the worker's environment has beyond the server's.
    cold
        Whether the worker compiles nothing before a job asks, whatever the settings say.
    """

    def __init__(
        self,
        folder: DataFolder,
        store: JobStore,
        *,
        server: str,
        changed: Callable[[], None],
        settings: Settings,
        environment: Mapping[str, str],
        cold: bool,
    ) -> None:
        self._folder = folder
        self._store = store
        self._server = server
        self._changed = changed
        self._grace = settings.grace
        told = settings.for_worker()
        self._told = json.dumps(told | {"cold": cold or told["cold"]})
        self._environment = os.environ | ENVIRONMENT | dict(environment)
        if settings.database is not None:
            # Not on the command line, where everybody on the machine could read its password.
            self._environment["FASTCLUST_DATABASE"] = settings.database
        self._thread = threading.Thread(target=self._run, name="supervisor")
        self._bell, self._rope = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._rope, False)
        self._new_job = False
        self._stop_by: float | None = None
        self._pause = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Say that a job was queued or cancelled. Any thread."""
        self._new_job = True
        self._ring()

    def stop(self) -> None:
        """Have the job at hand put back, end the worker and wait for it."""
        self._stop_by = time.monotonic() + self._grace
        self._ring()
        self._thread.join()
        os.close(self._bell)
        os.close(self._rope)

    def _ring(self) -> None:
        try:
            os.write(self._rope, b"!")
        except BlockingIOError:
            return  # it rings already

    def _run(self) -> None:
        while self._stop_by is None:
            running = self._spawn()
            self._watch(running)
            self._bury(running)
            if self._stop_by is None and self._pause > 0:
                select.select([self._bell], [], [], self._pause)

    def _spawn(self) -> _Running:
        worker = f"{self._server}-{names.new_id()[:8]}"
        arguments = ["--data", str(self._folder.root), "--worker", worker, "--server", self._server]
        process = subprocess.Popen(  # noqa: S603 - the command is ours, word by word
            command("fastclust_server.jobs.worker", *arguments, "--settings", self._told),
            stdin=subprocess.PIPE,
            stdout=2,  # the server's stdout is for its address alone
            env=self._environment,
            start_new_session=True,
        )
        log.event("worker_started", worker=worker, worker_pid=process.pid)
        return _Running(worker, process, os.pidfd_open(process.pid), time.monotonic())

    def _watch(self, running: _Running) -> None:
        """Return when the worker has ended."""
        told, renewed = False, 0.0
        while True:
            ready, _, _ = select.select([running.handle, self._bell], [], [], _LOOK_SECONDS)
            if running.handle in ready:
                return
            if self._bell in ready:
                os.read(self._bell, 4096)
            if self._stop_by is not None and not told:
                told = running.ours = True
                self._tell(running, "stop")
            elif self._new_job:
                self._new_job = False
                self._tell(running, "wake")
            now = time.monotonic()
            try:
                if now - renewed >= _RENEW_SECONDS:
                    self._store.renew(running.id, LEASE_SECONDS)
                    self._store.reap(self._server)
                    renewed = now
                self._force(running, now)
            except SQLAlchemyError as error:
                log.failure("supervisor_failed", error, worker=running.id)

    def _force(self, running: _Running, now: float) -> None:
        """Signal a worker whose time to stop by itself is over."""
        if running.terminated is not None:
            if now - running.terminated >= _LAST_SECONDS:
                self._signal(running, signal.SIGKILL)
            return
        overdue = self._stop_by is not None and now >= self._stop_by
        if not overdue:
            record = self._store.running(running.id)
            asked = None if record is None else record.cancel_requested
            overdue = asked is not None and time.time() - asked >= self._grace
        if overdue:
            running.terminated, running.ours = now, True
            log.event("worker_forced", worker=running.id)
            self._signal(running, signal.SIGTERM)

    def _bury(self, running: _Running) -> None:
        """Reap a worker that has ended, kill what it left, and put its job back."""
        self._signal(running, signal.SIGKILL)  # its group: children of its own
        code = running.process.wait()
        os.close(running.handle)
        if running.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                running.process.stdin.close()
        log.event("worker_ended", worker=running.id, worker_pid=running.process.pid, code=code)
        for record in self._abandon(running):
            log.event("job_put_back", job=record.name, attempt=record.attempt, state=record.state)
            if record.state in ENDED:
                self._folder.tidy(record.id, [])
        self._changed()
        settled = running.ours or time.monotonic() - running.started >= _SETTLED_SECONDS
        self._pause = 0.0 if settled else min(max(2 * self._pause, 0.25), _LONGEST_PAUSE)

    def _abandon(self, running: _Running) -> list[JobRecord]:
        while True:
            try:
                return self._store.abandon(running.id, counts=not running.ours)
            except SQLAlchemyError as error:
                log.failure("supervisor_failed", error, worker=running.id)
                if self._stop_by is not None:
                    return []  # the next server that opens the folder puts it back
                time.sleep(_LOOK_SECONDS)

    def _tell(self, running: _Running, word: Literal["wake", "stop"]) -> None:
        if running.process.stdin is None:
            return
        try:
            running.process.stdin.write(word.encode() + b"\n")
            running.process.stdin.flush()
        except (BrokenPipeError, BlockingIOError):
            return  # it is dying; its handle tells

    def _signal(self, running: _Running, number: signal.Signals) -> None:
        try:
            os.killpg(running.process.pid, number)
        except ProcessLookupError:
            return
