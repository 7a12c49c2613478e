"""What Prometheus is told. Calls are named as gRFC A66 names them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from sqlalchemy.exc import SQLAlchemyError

from fastclust.v1 import job_pb2
from fastclust_server import log
from fastclust_server.gpus import GpuCollector
from fastclust_server.jobs.records import ENDED

if TYPE_CHECKING:
    from http.server import HTTPServer

    from fastclust_server.jobs.records import JobRecord
    from fastclust_server.jobs.store import JobStore

__all__ = ["Metrics"]

_LATENCY = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)
_LONG = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600)
_LOOK_SECONDS = 1.0
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096, 16384)


class Metrics:
    """One server's."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._started = Counter("grpc_server_call_started", "Calls that began.", ["grpc_method"], registry=registry)
        self._duration = Histogram(
            "grpc_server_call_duration_seconds",
            "Calls that ended.",
            ["grpc_method", "grpc_status"],
            registry=registry,
            buckets=_LATENCY,
        )
        self.uploaded = Counter("fastclust_upload_bytes", "Bytes that uploads brought.", registry=registry)
        self.queue_seconds = Histogram(
            "fastclust_job_queue_seconds",
            "From a job's creation to its start.",
            ["kind"],
            registry=registry,
            buckets=_LONG,
        )
        self.job_seconds = Histogram(
            "fastclust_job_seconds",
            "From a job's start to its end.",
            ["kind", "state"],
            registry=registry,
            buckets=_LONG,
        )
        self._batch_rows = Histogram(
            "fastclust_batch_rows", "Rows of a batch of online calls.", ["method"], registry=registry, buckets=_ROWS
        )
        self._queued = Gauge("fastclust_jobs_queued", "Jobs that wait.", registry=registry)
        registry.register(GpuCollector())
        self._children: dict[tuple[str, str], Histogram] = {}
        self._methods: dict[str, Counter] = {}
        self._batches: dict[str, Histogram] = {}
        self._server: HTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._jobs: threading.Thread | None = None
        self._end = threading.Event()
        self._running: set[str] = set()

    def started(self, method: str) -> None:
        """Count a call."""
        child = self._methods.get(method)
        if child is None:
            child = self._methods[method] = self._started.labels(method.lstrip("/"))
        child.inc()

    def ended(self, method: str, status: str, seconds: float) -> None:
        """Time a call."""
        key = (method, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._duration.labels(method.lstrip("/"), status)
        child.observe(seconds)

    def batch(self, method: str, rows: int) -> None:
        """Count a batch of online calls."""
        child = self._batches.get(method)
        if child is None:
            child = self._batches[method] = self._batch_rows.labels(method)
        child.observe(rows)

    def serve(self, address: str, store: JobStore) -> str:
        """Answer GET /metrics, and look at jobs meanwhile; return the address."""
        self._queued.set_function(store.queued)
        host, _, port = address.rpartition(":")
        self._server, self._thread = start_http_server(int(port), host.strip("[]"), self.registry)
        self._jobs = threading.Thread(target=self._look, args=(store, store.sequence()), name="metrics")
        self._jobs.start()
        return f"{host}:{self._server.server_port}"

    def close(self) -> None:
        """End."""
        self._end.set()
        if self._jobs is not None:
            self._jobs.join()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def _look(self, store: JobStore, seen: int) -> None:
        """Workers write from their own processes, so what happened to jobs is read from the store."""
        while not self._end.wait(_LOOK_SECONDS):
            try:
                for record in store.changed_since(seen):
                    seen = record.sequence
                    self.job(record)
            except SQLAlchemyError as error:
                log.failure("metrics_failed", error)

    def job(self, record: JobRecord) -> None:
        """Take a change of a job."""
        if record.started is not None and record.id not in self._running:
            self._running.add(record.id)
            self.queue_seconds.labels(record.kind).observe(max(record.started - record.created, 0.0))
        if record.state in ENDED:
            self._running.discard(record.id)
            if record.started is not None and record.ended is not None:
                name = job_pb2.JobState.Name(job_pb2.JobState.ValueType(record.state))
                state = name.removeprefix("JOB_STATE_").lower()
                self.job_seconds.labels(record.kind, state).observe(max(record.ended - record.started, 0.0))
