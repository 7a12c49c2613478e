"""The worker process: claims jobs, runs them one after another, publishes their results.

Started by the supervisor only. It ends when the server ends: the kernel kills it with the thread that started it, and
the pipe to its stdin closes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fastclust import progress
from fastclust.errors import FastclustError, OperationCancelledError
from fastclust.v1 import spec_pb2
from fastclust.warming import COMPILING, kept, start
from fastclust_server import log, status
from fastclust_server.config import Settings
from fastclust_server.database import Database
from fastclust_server.jobs.heartbeat import CANCEL, MEMORY, SHUTDOWN, TIME, Heartbeat, Limits
from fastclust_server.jobs.store import LEASE_SECONDS, JobStore, LostClaimError
from fastclust_server.jobs.tasks import TASKS
from fastclust_server.jobs.tracker import Tracker
from fastclust_server.jobs.warming import warming
from fastclust_server.jobs.work import Work
from fastclust_server.storage.catalog import Catalog
from fastclust_server.storage.folder import DataFolder

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from types import FrameType

    from fastclust_server.jobs.records import ArtifactRecord, Claim, JobRecord

__all__ = ["Worker", "main"]

_IDLE_SECONDS = 1.0


class Worker:
    """Runs jobs of one store."""

    def __init__(
        self,
        folder: DataFolder,
        store: JobStore,
        catalog: Catalog,
        settings: Settings,
        *,
        worker: str,
        server: str,
    ) -> None:
        self._folder = folder
        self._store = store
        self._catalog = catalog
        self._settings = settings
        self._worker = worker
        self._server = server
        self._wake = threading.Event()
        self._stopping = False
        #: Compiles all that a run needs, where none of it was kept on disk.
        self._compiler: subprocess.Popen[bytes] | None = None
        #: What is still to be compiled or loaded here; None: nothing, or nothing is wanted.
        self._warming: Iterator[str] | None = None if settings.cold else warming()
        self._warms = False
        self._heartbeat: Heartbeat | None = None

    def run(self) -> None:
        """Work until :meth:`stop`."""
        if not self._settings.cold:
            self._compile_beside()
        while not self._stopping:
            self._wake.clear()
            record = self._store.claim(self._worker, self._server, LEASE_SECONDS)
            if record is not None:
                self.attempt(record)
            elif self._warming is not None and not self._compiling():
                self._warm(self._warming)
            else:
                self._wake.wait(_IDLE_SECONDS)

    def _compile_beside(self) -> None:
        try:
            if not kept():
                self._compiler = start()
                log.event("compiling", worker=self._worker, compiler_pid=self._compiler.pid)
        except Exception as error:  # noqa: BLE001 - the job that needs it will say so to its owner
            log.failure("warming_failed", error, worker=self._worker)

    def _compiling(self) -> bool:
        return self._compiler is not None and self._compiler.poll() is None

    def _warm(self, steps: Iterator[str]) -> None:
        """Do one step of what makes the first job quick; a job that came meanwhile goes before the next."""
        self._warms = True
        try:
            if next(steps, None) is None:
                self._warming = None
                log.event("worker_warm", worker=self._worker)
        except Exception as error:  # noqa: BLE001 - the job that needs it will say so to its owner
            self._warming = None
            log.failure("warming_failed", error, worker=self._worker)
        finally:
            self._warms = False

    def wake(self) -> None:
        """Look for a job now. Any thread."""
        self._wake.set()

    def stop(self) -> None:
        """Put the job at hand back at its next report, and end. Any thread."""
        self._stopping = True
        if self._warms:
            os._exit(0)  # a compiler does not look up, and nothing that counts is in memory
        heartbeat = self._heartbeat
        if heartbeat is not None:
            heartbeat.stop(SHUTDOWN)
        self._wake.set()

    def attempt(self, record: JobRecord) -> None:
        """Run one attempt of one job; whatever happens in it ends as a state of the job."""
        claim, about = record.claim, {"job": record.name, "attempt": record.attempt, "kind": record.kind}
        try:
            task = TASKS[record.kind]
            spec = spec_pb2.JobSpec.FromString(record.spec)
            steps = task.steps(getattr(spec, record.kind))
        except Exception as error:  # noqa: BLE001 - as of what runs below
            self._failed(record, error)
            self._tidy(record)
            return
        tracker = Tracker(steps)
        limits = self._limits(spec)
        self._heartbeat = heartbeat = Heartbeat(
            self._store, claim, tracker, limits, lambda reason: self._break_off(record, reason)
        )
        if self._stopping:
            heartbeat.stop(SHUTDOWN)
        log.event("job_started", **about)
        heartbeat.start()
        try:
            work = Work(self._folder, self._store, self._catalog, record, self._settings)
            with progress.listening(heartbeat.listen, check=heartbeat.check):
                heartbeat.check()
                if self._compiling():
                    progress.report(progress.NOTICE, 0, 1, COMPILING)
                task.run(getattr(spec, record.kind), work)
            artifacts = work.close()
            heartbeat.close()
            self._publish(claim, work, artifacts, tracker.finished(work.steps).SerializeToString())
            log.event("job_succeeded", **about)
        except OperationCancelledError as error:
            heartbeat.close()
            self._stopped(record, heartbeat, error)
        except LostClaimError:
            log.event("job_lost", **about)
        except Exception as error:  # noqa: BLE001 - a job must not end its worker, whatever it raises
            heartbeat.close()
            self._failed(record, error)
        finally:
            heartbeat.close()
            self._heartbeat = None
        self._tidy(record)

    def _publish(self, claim: Claim, work: Work, artifacts: list[ArtifactRecord], progress_: bytes) -> None:
        try:
            self._store.complete(
                claim,
                artifacts_=artifacts,
                metrics=work.metrics,
                notes=work.notes,
                progress=progress_,
                dataset=work.imported,
                owner_bytes=self._settings.owner_bytes,
            )
        except FastclustError:
            # The store refused it. After any other error it may have been committed: a start of the server finds out.
            work.discard()
            raise

    def _stopped(self, record: JobRecord, heartbeat: Heartbeat, error: OperationCancelledError) -> None:
        log.event("job_stopped", job=record.name, attempt=record.attempt, reason=heartbeat.reason)
        try:
            if heartbeat.reason == CANCEL:
                self._store.cancelled(record.claim)
            elif heartbeat.reason == SHUTDOWN:
                self._store.release(record.claim)
            elif heartbeat.reason in {TIME, MEMORY}:
                self._store.fail(record.claim, self._over(heartbeat.reason, record))
            elif heartbeat.reason is None:
                self._failed(record, error)
        except LostClaimError:
            log.event("job_lost", job=record.name, attempt=record.attempt)

    def _limits(self, spec: spec_pb2.JobSpec) -> Limits:
        """The tighter of what the job and the set-up say."""
        asked = spec.limits
        seconds = [asked.run_time.ToMilliseconds() / 1000, self._settings.job_seconds]
        memory = [asked.memory_bytes, self._settings.job_memory]
        return Limits(min(filter(None, seconds), default=0.0), min(filter(None, memory), default=0))

    def _over(self, reason: str, record: JobRecord) -> bytes:
        limits = self._limits(spec_pb2.JobSpec.FromString(record.spec))
        if reason == TIME:
            told = status.job_error("TIME_LIMIT", f"The job ran for longer than its {limits.seconds:g} seconds.")
        else:
            told = status.job_error("MEMORY_LIMIT", f"The job took more memory than its {limits.memory_bytes} bytes.")
        return told.SerializeToString()

    def _break_off(self, record: JobRecord, reason: str) -> None:
        """End the job and, because nothing else stops its work, this process; the supervisor starts another."""
        with contextlib.suppress(LostClaimError):
            self._store.fail(record.claim, self._over(reason, record))
        log.event("job_broken_off", job=record.name, attempt=record.attempt, reason=reason)
        os._exit(1)

    def _failed(self, record: JobRecord, error: Exception) -> None:
        told = status.deliberate(error)
        if isinstance(error, FastclustError):
            log.event("job_failed", job=record.name, attempt=record.attempt, reason=told.reason, message=str(told))
        else:
            log.failure("job_failed", error, job=record.name, attempt=record.attempt)
        try:
            shown = status.describe(told)
            # Where the server keeps its files is nobody's business, and means nothing to a client.
            shown.message = shown.message.replace(f"{self._folder.root}/", "")
            self._store.fail(record.claim, shown.SerializeToString())
        except LostClaimError:
            log.event("job_lost", job=record.name, attempt=record.attempt)

    def _tidy(self, record: JobRecord) -> None:
        """Remove what an ended job no longer needs."""
        try:
            if record.id not in self._store.unfinished():
                self._folder.tidy(record.id, [artifact.file for artifact in self._store.artifacts(record.id)])
        except OSError as error:
            log.failure("tidy_failed", error, job=record.name)


def _listen(worker: Worker) -> None:
    """Obey the supervisor: lines "wake" and "stop" on stdin; its end is the server's end."""
    for line in sys.stdin:
        if line.strip() == "stop":
            worker.stop()
        else:
            worker.wake()
    os._exit(0)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(143)


def main() -> None:
    """Run a worker."""
    parser = argparse.ArgumentParser(prog="fastclust_server.jobs.worker")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--settings", type=json.loads, default={})
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    log.hear_library()
    folder = DataFolder(arguments.data)
    database = Database(os.environ.get("FASTCLUST_DATABASE") or folder.database_url)
    settings = Settings(arguments.data, **arguments.settings)
    worker = Worker(
        folder, JobStore(database), Catalog(database), settings, worker=arguments.worker, server=arguments.server
    )
    threading.Thread(target=_listen, args=(worker,), name="supervisor", daemon=True).start()
    worker.run()
    # Threads of numeric libraries may still be there; nothing that counts is in memory.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
