"""How long the service takes to come back, to notice, and to stop: ``python -m bench.service_times``.

A server on its embedded defaults, beside no peer; the targets stand in ``targets.toml``. Prints one JSON object.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import psutil

from bench import machine
from fastclust.client import Client
from fastclust.v1 import job_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main"]

_ROWS, _WATCHES, _JOBS = 100_000, 1000, 100


class _Server:
    def __init__(self, data: Path) -> None:
        self.data, self.log = data, data.parent / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> tuple[float, str]:
        """Return the seconds until it answers a call, and its address."""
        ready = self.data.parent / "ready"
        ready.unlink(missing_ok=True)
        begun = time.perf_counter()
        command = [sys.executable, "-m", "fastclust_server", "--listen", "127.0.0.1:0", "--data", str(self.data)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*command, "--ready-file", str(ready)], stdout=log, stderr=log)
        while not ready.exists():
            time.sleep(0.005)
        address = ready.read_text().strip()
        with grpc.insecure_channel(address) as channel:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
        return time.perf_counter() - begun, address

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def worker(self) -> psutil.Process:
        assert self.process is not None
        while True:
            for child in psutil.Process(self.process.pid).children():
                if "fastclust_server.jobs.worker" in child.cmdline():
                    return child
            time.sleep(0.01)


@contextmanager
def _serving() -> Iterator[tuple[_Server, Client]]:
    with tempfile.TemporaryDirectory(prefix="fastclust-times-") as folder:
        server = _Server(Path(folder) / "data")
        _, address = server.start()
        try:
            with Client(address) as client:
                yield server, client
        finally:
            assert server.process is not None
            server.process.terminate()
            server.process.wait()


def _long(client: Client) -> Any:
    """A map that takes hours."""
    rows = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
    data = client.upload(rows)
    client.tsne(data, max_iter=260, random_state=0).wait(timeout=300)  # compiling does not look up, and is done once
    job = client.tsne(data, max_iter=10**6, random_state=0)
    while job.progress().fraction == 0 or job.progress().step != "tsne":
        time.sleep(0.05)
    return job


def _until(reached: Any) -> float:
    begun = time.perf_counter()
    while not reached():
        time.sleep(0.005)
    return time.perf_counter() - begun


def _restarts() -> dict[str, float]:
    with _serving() as (server, client):
        rows = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
        done = client.kmeans(client.upload(rows), n_clusters=2)
        done.wait(timeout=120)
        job = _long(client)
        server.kill()
        _multiply(server.data / "fastclust.db", done.name.split("/")[1])
        seconds, address = server.start()
        begun = time.perf_counter()
        with Client(address) as again:
            _until(lambda: again.job(job.name).progress().attempt == 2)
            claimed = time.perf_counter() - begun
            begun = time.perf_counter()
            server.worker().kill()
            _until(lambda: again.job(job.name).progress().attempt == 3)
            again.job(job.name).cancel()
        return {
            "serving again with 100k job rows, s": seconds,
            "job of a killed server claimed again after serving, s": claimed,
            "job of a killed worker claimed again, s": time.perf_counter() - begun,
        }


def _multiply(path: Path, job: str) -> None:
    """Give the database 100k copies of an ended job."""
    with sqlite3.connect(path) as database:
        names = [row[1] for row in database.execute("PRAGMA table_info(jobs)") if row[1] != "number"]
        taken = [{"id": "lower(hex(randomblob(16)))", "request_id": "NULL"}.get(name, name) for name in names]
        database.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {_ROWS}) "  # noqa: S608 - ours
            f"INSERT INTO jobs ({', '.join(names)}) SELECT {', '.join(taken)} FROM jobs, n WHERE id = '{job}'"
        )
    database.close()


def _watches() -> dict[str, float]:
    with _serving() as (_, client):
        running = _long(client)
        watch = client._connection.channel.unary_stream(  # noqa: SLF001 - streams without a thread each
            "/fastclust.v1.JobService/WatchJob", job_pb2.WatchJobRequest.SerializeToString, job_pb2.Job.FromString
        )
        queued = client.tsne(client.upload(np.eye(200, dtype=np.float32)))
        streams = [watch(job_pb2.WatchJobRequest(name=queued.name)) for _ in range(_WATCHES)]
        for stream in streams:
            next(stream)
        with grpc.insecure_channel(client.address) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            waits = []
            for _ in range(200):
                begun = time.perf_counter()
                check(b"")
                waits.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        queued.cancel()
        cancelled = time.perf_counter() - begun
        for stream in streams:
            for _ in stream:
                pass
        begun = time.perf_counter()
        running.cancel()
        running.wait(timeout=60)
        return {
            "health with 1,000 watches, median ms": 1e3 * statistics.median(waits),
            "health with 1,000 watches, most ms": 1e3 * max(waits),
            "cancel of a queued job, ms": 1e3 * cancelled,
            "cancel of a running job, s": time.perf_counter() - begun,
        }


def _forced() -> dict[str, float]:
    with _serving() as (server, client):
        job = _long(client)
        server.worker().suspend()  # as work that never looks up
        begun = time.perf_counter()
        job.cancel()
        job.wait(timeout=60)
        return {"cancel of a job that does not listen, s": time.perf_counter() - begun}


def _memory() -> dict[str, float]:
    with _serving() as (server, client):
        assert server.process is not None
        front = psutil.Process(server.process.pid)
        data = client.upload(np.random.default_rng(0).standard_normal((20_000, 32)).astype(np.float32))

        def work(count: int) -> None:
            for job in [client.kmeans(data, n_clusters=20, random_state=0, max_iter=10) for _ in range(count)]:
                job.wait(timeout=120)

        work(10)  # what is loaded and compiled once
        worker = server.worker()
        before = front.memory_info().rss, worker.memory_info().rss
        work(_JOBS)
        after = front.memory_info().rss, worker.memory_info().rss
        return {
            "server's memory after 100 jobs, MiB more": (after[0] - before[0]) / 2**20,
            "worker's memory after 100 jobs, MiB more": (after[1] - before[1]) / 2**20,
        }


def main() -> None:
    """Measure all, and print."""
    found: dict[str, float] = {}
    for part in (_restarts, _watches, _forced, _memory):
        found |= part()
    about = machine.describe({"grpcio"}, machine.threads_available())
    print(json.dumps({"machine": about, **{name: round(value, 3) for name, value in found.items()}}, indent=2))


if __name__ == "__main__":
    main()
