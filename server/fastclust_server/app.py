"""The server's process: opens the data folder, serves, and stops in order."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from typing import TYPE_CHECKING

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fastclust.artifacts import replacing
from fastclust.errors import NotFoundError, PreconditionError
from fastclust.v1 import (
    artifact_pb2,
    artifact_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    online_pb2,
    online_pb2_grpc,
)
from fastclust_server import log, names
from fastclust_server.auth import Authenticator
from fastclust_server.calls import Calls
from fastclust_server.database import Database
from fastclust_server.jobs.notifier import Notifier
from fastclust_server.jobs.store import JobStore
from fastclust_server.jobs.supervisor import Supervisor
from fastclust_server.services.artifacts import ArtifactService
from fastclust_server.services.datasets import DatasetService
from fastclust_server.services.jobs import JobService
from fastclust_server.services.online import OnlineService
from fastclust_server.storage.catalog import Catalog
from fastclust_server.storage.folder import DataFolder
from fastclust_server.storage.uploads import Uploads
from fastclust_server.threads import Threads

if TYPE_CHECKING:
    from fastclust_server.config import Settings

__all__ = ["Server", "serve"]

_RECEIVE_CAP = 16 * 2**20
_OPTIONS = (
    ("grpc.max_receive_message_length", _RECEIVE_CAP),
    ("grpc.max_send_message_length", _RECEIVE_CAP),
    # A second server on the same port is an error and not a coin toss for each connection.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)
_SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (dataset_pb2, "DatasetService"),
        (job_pb2, "JobService"),
        (artifact_pb2, "ArtifactService"),
        (online_pb2, "OnlineService"),
    )
)
_SWEEP_SECONDS = 600.0
#: Between the end of the last handler and the end of its connection: its response is on the way.
_LAST_WORDS_SECONDS = 0.1


class Server:
    """One server on one data folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = DataFolder(settings.data)
        self._database = Database(self._folder.database_url)
        self._store = JobStore(self._database, max_queued=settings.max_queued)
        self._catalog = Catalog(self._database)
        self._uploads = Uploads(self._folder, self._catalog)
        self._threads = Threads()
        self._notifier = Notifier(self._store, self._threads)
        self._health = health.aio.HealthServicer()
        #: Of this start of the server: jobs that run under another are left over.
        self._id = names.new_id()[:16]
        self._tasks: list[asyncio.Task[None]] = []
        self._grpc: aio.Server | None = None
        self._calls: Calls | None = None
        self._supervisor: Supervisor | None = None

    async def start(self) -> str:
        """Open the folder, put left-over jobs back, and serve; return the address."""
        settings = self._settings
        authenticator = Authenticator() if settings.tokens is None else Authenticator.from_file(settings.tokens)
        self._folder.open()
        self._database.prepare()
        for record in self._store.recover(self._id):
            log.event("job_put_back", job=record.name, attempt=record.attempt, state=record.state)
        self._uploads.expire()
        removed = self._folder.sweep(
            uploads=self._catalog.upload_files(),
            datasets=self._catalog.dataset_files(),
            published=self._store.published(),
            unfinished=self._store.unfinished(),
        )
        if removed:
            log.event("swept", count=len(removed), first=removed[:20])
        loop = asyncio.get_running_loop()
        self._supervisor = Supervisor(
            self._folder,
            self._store,
            server=self._id,
            changed=partial(self._wake_from_thread, loop),
            grace=settings.grace,
        )
        self._calls = Calls(authenticator)
        self._grpc = self._build(self._calls, self._supervisor)
        address = self._bind(self._grpc)
        await self._grpc.start()
        self._supervisor.start()
        self._tasks = [loop.create_task(self._notifier.run()), loop.create_task(self._expire())]
        for service in ("", *_SERVICES):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        log.event("serving", address=address, data=str(self._folder.root), server=self._id)
        return address

    async def stop(self) -> None:
        """Accept nothing more, end watches, put the running job back, and close."""
        log.event("stopping", server=self._id)
        await self._health.enter_graceful_shutdown()
        self._notifier.close()
        worker_ends = asyncio.to_thread(self._supervisor.stop) if self._supervisor is not None else asyncio.sleep(0)
        await asyncio.gather(self._drain(), worker_ends)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.close)
        self._database.close()
        self._folder.close()
        log.event("stopped", server=self._id)

    async def _drain(self) -> None:
        """Refuse new calls, and wait for those that are being answered."""
        if self._grpc is None:
            return
        # Stopping waits for idle connections too, which clients keep open; so it is told when the last call has ended.
        refusing = asyncio.ensure_future(self._grpc.stop(self._settings.grace))
        if self._calls is not None:
            idle = asyncio.ensure_future(self._calls.idle())
            await asyncio.wait((refusing, idle), return_when=asyncio.FIRST_COMPLETED)
            idle.cancel()
            await asyncio.sleep(_LAST_WORDS_SECONDS)
        await self._grpc.stop(0)
        await refusing

    def _wake_from_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(self._notifier.wake)

    def _build(self, calls: Calls, supervisor: Supervisor) -> aio.Server:
        server = aio.server(interceptors=(calls,), options=_OPTIONS)
        folder, store, catalog, threads = self._folder, self._store, self._catalog, self._threads
        dataset_pb2_grpc.add_DatasetServiceServicer_to_server(
            DatasetService(folder, catalog, self._uploads, threads), server
        )
        job_pb2_grpc.add_JobServiceServicer_to_server(
            JobService(folder, store, catalog, supervisor, self._notifier, threads), server
        )
        artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(ArtifactService(folder, store, threads), server)
        online_pb2_grpc.add_OnlineServiceServicer_to_server(OnlineService(), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        return server

    def _bind(self, server: aio.Server) -> str:
        settings = self._settings
        try:
            if settings.tls_cert is None or settings.tls_key is None:
                port = server.add_insecure_port(settings.listen)
            else:
                pair = (_read(settings.tls_key), _read(settings.tls_cert))
                port = server.add_secure_port(settings.listen, grpc.ssl_server_credentials([pair]))
        except RuntimeError as error:
            raise PreconditionError(
                f"{settings.listen}: cannot listen there: {error}. Take another address, or port 0 for a free one."
            ) from error
        if settings.host is None:
            return settings.listen
        return f"{settings.listen.rpartition(':')[0]}:{port}"

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                expired = await self._threads.disk(self._uploads.expire)
            except Exception as error:  # noqa: BLE001 - tried again at the next turn
                log.failure("expire_failed", error)
            else:
                if expired:
                    log.event("uploads_expired", count=expired)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises a FastclustError where the set-up does not allow it."""
    settings.check()
    os.umask(0o077)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = Server(settings)
    address = await server.start()
    try:
        if settings.ready_file is not None:
            with replacing(settings.ready_file) as temporary:
                temporary.write_text(address + "\n", encoding="utf-8")
        print(f"fastclust server listening on {address}", flush=True)  # noqa: T201 - the one line that is promised
        await stopping.wait()
    finally:
        await server.stop()
        if settings.ready_file is not None:
            settings.ready_file.unlink(missing_ok=True)


def _read(path: os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - any path-like
            return file.read()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file.") from error
