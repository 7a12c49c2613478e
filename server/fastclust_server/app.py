"""The server's process: opens the data folder, serves, and stops in order."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from typing import TYPE_CHECKING

import grpc
from grpc_channelz.v1 import channelz
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
)
from fastclust_server import log, names
from fastclust_server.auth import Authenticator
from fastclust_server.calls import Calls
from fastclust_server.database import Database
from fastclust_server.jobs.notifier import Notifier
from fastclust_server.jobs.store import JobStore
from fastclust_server.jobs.workers import Workers
from fastclust_server.metrics import Metrics
from fastclust_server.online.handle import OnlineHandle
from fastclust_server.pools import Pools
from fastclust_server.retention import Retention
from fastclust_server.services import online
from fastclust_server.services.artifacts import ArtifactService
from fastclust_server.services.datasets import DatasetService
from fastclust_server.services.jobs import JobService
from fastclust_server.stalls import Stalls
from fastclust_server.storage.catalog import Catalog
from fastclust_server.storage.folder import DataFolder
from fastclust_server.storage.uploads import Uploads
from fastclust_server.telemetry import Telemetry
from fastclust_server.web import Site

if TYPE_CHECKING:
    from fastclust_server.config import Settings

__all__ = ["Server", "serve"]

_CHANNELZ = "grpc.channelz.v1.Channelz"
_RECEIVE_CAP = 16 * 2**20
_MOST_CALLS = 8192
_M_ARENA_MAX = -8
_OPTIONS = (
    ("grpc.max_receive_message_length", _RECEIVE_CAP),
    ("grpc.max_send_message_length", _RECEIVE_CAP),
    # Chunks of 1 MiB go as few frames.
    ("grpc.http2.max_frame_size", 2**20),
    ("grpc.http2.lookahead_bytes", 4 * 2**20),
    # The window stays at that: where a disk is slow, a probed one grows to hundreds of MiB that nobody reads yet.
    ("grpc.http2.bdp_probe", 0),
    # Headers beyond this are refused before a handler sees the call.
    ("grpc.max_metadata_size", 16 * 2**10),
    ("grpc.absolute_max_metadata_size", 32 * 2**10),
    # A second server on the same port is an error and not a coin toss for each connection.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.enable_channelz", 1),
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


class Server:
    """One server on one data folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = DataFolder(settings.data)
        self._database = Database(settings.database or self._folder.database_url)
        self._store = JobStore(self._database, max_queued=settings.max_queued, owner_jobs=settings.owner_jobs)
        self._catalog = Catalog(self._database)
        self._metrics = Metrics()
        self._telemetry = Telemetry(wanted=settings.telemetry)
        self._uploads = Uploads(self._folder, self._catalog, settings, self._metrics.uploaded.inc)
        self._pools = Pools()
        self._stalls = Stalls(settings.stall)
        self._notifier = Notifier(self._store)
        self._online = OnlineHandle(self._folder.root, settings, self._metrics.batch)
        self._retention = Retention(self._folder, self._store, self._uploads, settings, removed=self._online.forget)
        self._health = health.HealthServicer(experimental_thread_pool=self._pools.calls)
        #: Of this start of the server: jobs that run under another are left over.
        self._id = names.new_id()[:16]
        self._grpc: grpc.Server | None = None
        self._calls: Calls | None = None
        self._workers: Workers | None = None
        self._site: Site | None = None
        #: Address of the page, once it is served.
        self.page: str | None = None

    def start(self) -> str:
        """Open the folder, put left-over jobs back, and serve; return the address."""
        settings = self._settings
        certificates = settings.client_ca is not None
        if settings.tokens is None:
            authenticator = Authenticator(certificates=certificates)
        else:
            authenticator = Authenticator.from_file(settings.tokens, certificates=certificates)
        self._folder.open()
        self._database.lock()
        self._database.prepare(self._folder.id)
        for record in self._store.recover(self._id):
            log.event("job_put_back", job=record.name, attempt=record.attempt, state=record.state)
        self._retention.expire()
        removed = self._folder.sweep(
            uploads=self._catalog.upload_files(),
            datasets=self._catalog.dataset_files(),
            published=self._store.published(),
            unfinished=self._store.unfinished(),
        )
        if removed:
            log.event("swept", count=len(removed), first=removed[:20])
        self._workers = Workers(
            self._folder, self._store, server=self._id, changed=self._notifier.wake, settings=settings
        )
        self._calls = Calls(authenticator, self._pools, self._metrics, self._telemetry)
        self._grpc = self._build(self._calls)
        address = self._bind(self._grpc)
        if settings.web is not None:
            self._site = Site(self._folder, self._store, authenticator, settings, changed=self._changed)
            self.page = self._site.start()
        for one in (self._stalls, self._notifier, self._online, self._retention):
            one.start()
        self._grpc.start()
        self._workers.start()
        if settings.metrics is not None:
            log.event("metrics", address=self._metrics.serve(settings.metrics, self._store))
        for service in ("", *_SERVICES):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        log.event("serving", address=address, data=str(self._folder.root), server=self._id)
        return address

    def stop(self) -> None:
        """Accept nothing more, end watches, put the running job back, and close."""
        log.event("stopping", server=self._id)
        self._health.enter_graceful_shutdown()
        if self._site is not None:
            self._site.close()
        ending = threading.Thread(target=self._workers.stop, name="stopping") if self._workers else None
        if ending is not None:
            ending.start()
        self._notifier.close()
        self._drain()
        self._online.close()
        self._retention.close()
        if ending is not None:
            ending.join()
        self._stalls.close()
        self._metrics.close()
        self._telemetry.close()
        self._pools.close()
        self._database.close()
        self._folder.close()
        log.event("stopped", server=self._id)

    def _drain(self) -> None:
        """Refuse new calls, and wait for those that are being answered."""
        if self._grpc is None:
            return
        # Stopping waits for idle connections too, which clients keep open; so it is told when the last call has ended.
        ended = self._grpc.stop(self._settings.grace)
        if self._calls is not None:
            self._calls.wait_idle(self._settings.grace)
        if not ended.wait(_LAST_WORDS_SECONDS):
            self._grpc.stop(None)
        ended.wait()

    def _changed(self) -> None:
        if self._workers is not None:
            self._workers.wake()
        self._notifier.wake()

    def _build(self, calls: Calls) -> grpc.Server:
        server = grpc.server(
            self._pools.calls, interceptors=[calls], options=_OPTIONS, maximum_concurrent_rpcs=_MOST_CALLS
        )
        folder, store, catalog = self._folder, self._store, self._catalog
        datasets = DatasetService(folder, catalog, store, self._uploads, self._stalls, self._settings, self._changed)
        dataset_pb2_grpc.add_DatasetServiceServicer_to_server(datasets, server)
        jobs = JobService(
            folder,
            store,
            catalog,
            self._notifier,
            self._pools,
            self._stalls,
            self._settings,
            changed=self._changed,
            removed=self._online.forget,
        )
        job_pb2_grpc.add_JobServiceServicer_to_server(jobs, server)
        artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(ArtifactService(folder, store, self._stalls), server)
        online.add_to_server(self._online, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        channelz.add_channelz_servicer(server)
        shown = (*_SERVICES, health.SERVICE_NAME, _CHANNELZ, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(shown, server)
        return server

    def _bind(self, server: grpc.Server) -> str:
        settings = self._settings
        try:
            if settings.tls_cert is None or settings.tls_key is None:
                port = server.add_insecure_port(settings.listen)
            else:
                pair = (_read(settings.tls_key), _read(settings.tls_cert))
                signers = None if settings.client_ca is None else _read(settings.client_ca)
                secrets = grpc.ssl_server_credentials([pair], signers, require_client_auth=signers is not None)
                port = server.add_secure_port(settings.listen, secrets)
        except RuntimeError as error:
            raise PreconditionError(
                f"{settings.listen}: cannot listen there: {error}. Take another address, or port 0 for a free one."
            ) from error
        if settings.host is None:
            return settings.listen
        return f"{settings.listen.rpartition(':')[0]}:{port}"


#: Between the end of the last handler and the end of its connection: its response is on the way.
_LAST_WORDS_SECONDS = 0.1
#: From a signal to its handler, at most.
_LOOK_SECONDS = 0.5


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises a FastclustError where the set-up does not allow it."""
    settings.check()
    os.umask(0o077)
    _share_memory()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    server = Server(settings)
    address = server.start()
    try:
        if settings.ready_file is not None:
            with replacing(settings.ready_file) as temporary:
                temporary.write_text(address + "\n", encoding="utf-8")
        print(f"fastclust server listening on {address}", flush=True)  # noqa: T201 - the one line that is promised
        if server.page is not None:
            print(f"fastclust page at {server.page}", flush=True)  # noqa: T201 - it holds the key, so not in the log
        # In turns: a signal that another thread was given is looked at only when this one wakes.
        while not stopping.wait(_LOOK_SECONDS):
            pass
    finally:
        server.stop()
        if settings.ready_file is not None:
            settings.ready_file.unlink(missing_ok=True)


def _share_memory() -> None:
    """Give glibc's threads two heaps in all: each of a hundred would keep what it once had."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def _read(path: os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - any path-like
            return file.read()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file.") from error
