"""The gRPC service beside bare grpcio and a bare disk, on loopback: uploads, downloads, online calls."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.bare import CHUNK, OPTIONS, bare_server, write_and_sync
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fastclust.client import Client, Dataset, Job

__all__ = ["CASE"]

_TMPFS = Path("/dev/shm")  # noqa: S108 - a file system in memory is what is wanted
_ROWS, _COLUMNS, _CLUSTERS = 16, 64, 100
_stack = ExitStack()
atexit.register(_stack.close)


@dataclass
class _Service:
    client: Client
    folder: Path
    process: Any
    bare: Any
    #: Data sets to be removed before the next upload.
    left: list[Dataset] = field(default_factory=list)


@functools.cache
def _service(place: str) -> _Service:
    """A server with its data under ``place``, and a bare one; both live until the case ends."""
    import grpc
    import psutil

    from fastclust.cli.demo import server
    from fastclust.client import Client

    folder = Path(_stack.enter_context(tempfile.TemporaryDirectory(prefix="fastclust-bench-", dir=place or None)))
    with _cold():
        address = _stack.enter_context(server(folder / "data"))
    client = _stack.enter_context(Client(address))
    client.jobs()
    words = str(folder / "data")
    process = next(
        one for one in psutil.Process().children() if words in one.cmdline() and "fastclust_server" in one.cmdline()
    )
    bare = _stack.enter_context(grpc.insecure_channel(_bare_address(), OPTIONS))
    return _Service(client, folder, process, bare)


@contextlib.contextmanager
def _cold() -> Iterator[None]:
    """Servers that are started meanwhile do not warm their workers.

    An idle worker compiles for up to a minute; what is measured is a server that has been up for longer.
    """
    before = os.environ.get("FASTCLUST_COLD")
    os.environ["FASTCLUST_COLD"] = "1"
    try:
        yield
    finally:
        del os.environ["FASTCLUST_COLD"]
        if before is not None:
            os.environ["FASTCLUST_COLD"] = before


@functools.cache
def _bare_address() -> str:
    return _stack.enter_context(bare_server())


@functools.cache
def _payload(megabytes: int) -> np.ndarray[Any, Any]:
    """Random bytes as float32 rows that are all finite."""
    return np.random.default_rng(0).random((megabytes * 2**20 // (4 * _COLUMNS), _COLUMNS), np.float32)


# Bytes ----------------------------------------------------------------------------------------------------------------


def _upload(place: str) -> Callable[[Any], Callable[[], Any]]:
    def prepare(rows: Any) -> Callable[[], Any]:
        service = _service(place)

        def call() -> Any:
            data = service.client.upload(rows)
            service.left.append(data)
            return data.n_bytes

        return call

    return prepare


def _forget(place: str) -> None:
    """Remove what was uploaded: a file system may take as long for that as for the upload."""
    service = _service(place)
    while service.left:
        service.client.delete_dataset(service.left.pop())


def _bare_upload(rows: Any) -> Callable[[], int]:
    stub = _service("").bare.stream_unary("/bare/Up")
    view = rows.data.cast("B")
    return lambda: int(stub(bytes(view[start : start + CHUNK]) for start in range(0, len(view), CHUNK)))


def _bare_path() -> Path:
    return _service("").folder / "bare"


def _bare_write(rows: Any) -> Callable[[], int]:
    path = _bare_path()
    return lambda: write_and_sync(os.fspath(path), rows.data.cast("B"))


def _download(place: str) -> Callable[[Any], Callable[[], Any]]:
    def prepare(rows: Any) -> Callable[[], Any]:
        client = _service(place).client
        data = client.upload(rows)
        job = client.mahalanobis(data, precision=client.upload(np.eye(_COLUMNS)), output="transformed")
        job.wait(timeout=600)

        def call() -> Any:
            return job.result()["transformed"].nbytes

        return call

    return prepare


def _bare_download(rows: Any) -> Callable[[], int]:
    stub = _service("").bare.unary_stream("/bare/Down")
    request = str(rows.nbytes // CHUNK).encode()
    return lambda: sum(len(message) for message in stub(request))


def _bytes_gate(rows: Any, came: Any) -> Verdict:
    return Verdict(came == rows.nbytes, f"{came} bytes of {rows.nbytes}, checksums compared")


def _bytes_problems(megabytes: int) -> list[Problem]:
    grpcio = Contender("grpcio", _bare_upload)
    disk = Contender("write+fsync", _bare_write, before=lambda: _bare_path().unlink(missing_ok=True))
    down = Contender("grpcio", _bare_download)
    share = "of the slower of bare grpcio and bare write+fsync"
    problems = []
    for where, place in (("disk", ""), ("tmpfs", os.fspath(_TMPFS))):
        peers = [grpcio, disk] if where == "disk" else [grpcio]
        target = (
            Target(share, 0.8, peers=("grpcio", "write+fsync"), slowest=True)
            if where == "disk"
            else Target("of grpcio", 0.8, "grpcio")
        )
        problems.append(
            Problem(
                f"upload {megabytes} MiB, data on {where}",
                lambda: _payload(megabytes),
                [
                    Contender(
                        OURS,
                        _upload(place),
                        remark="CRC of each chunk and of the whole, all numbers checked",
                        before=functools.partial(_forget, place),
                    ),
                    *peers,
                ],
                _bytes_gate,
                targets=[target],
                rounds=3,
            )
        )
    problems.append(
        Problem(
            f"download {megabytes} MiB",
            lambda: _payload(megabytes),
            [Contender(OURS, _download(os.fspath(_TMPFS)), remark="CRC of each block and of the whole"), down],
            _bytes_gate,
            targets=[Target("of grpcio", 0.8, peer="grpcio")],
            rounds=3,
        )
    )
    return problems


def _memory_problem(gigabytes: float) -> Problem:
    """One large upload of generated rows; how much the server's memory grew meanwhile."""

    def prepare(_data: Any) -> Callable[[], float]:
        service = _service("")
        rows = int(gigabytes * 1e9) // (4 * _COLUMNS)

        def call() -> float:
            path = service.folder / "large.npy"
            _write_rows(path, rows)
            before, most, over = service.process.memory_info().rss, [0], threading.Event()

            def look() -> None:
                while not over.wait(0.05):
                    most[0] = max(most[0], service.process.memory_info().rss)

            looking = threading.Thread(target=look)
            looking.start()
            data = service.client.upload(path)
            over.set()
            looking.join()
            path.unlink()
            service.client.delete_dataset(data)
            assert data.n_rows == rows
            return (most[0] - before) / 2**20

        return call

    return Problem(
        f"memory of the server in an upload of {gigabytes:g} GB",
        lambda: None,
        [Contender(OURS, prepare)],
        lambda _data, grown: Verdict(grown < 2**20, f"grew by {grown:.1f} MiB"),
        figures=lambda _data, grown: {"grown_mib": float(grown)},
        targets=[Target("MiB that it grew", 64, figure="grown_mib", at_most=True)],
        once=True,
    )


def _write_rows(path: Path, rows: int) -> None:
    block = np.random.default_rng(1).random((2**16, _COLUMNS), np.float32)
    out = np.lib.format.open_memmap(path, "w+", np.float32, (rows, _COLUMNS))
    for start in range(0, rows, len(block)):
        out[start : start + len(block)] = block[: rows - start]
    out.flush()


# Online calls ---------------------------------------------------------------------------------------------------------


@functools.cache
def _model() -> Job:
    client = _service("").client
    rows = np.random.default_rng(2).standard_normal((20_000, _COLUMNS), np.float32)
    job = client.kmeans(client.upload(rows), n_clusters=_CLUSTERS, random_state=0, max_iter=5)
    job.wait(timeout=600)
    return job


@dataclass
class _Rate:
    """What one run gave."""

    calls: int
    labels: Any
    #: Seconds, sorted.
    latencies: list[float]

    def share(self, part: float) -> float:
        return self.latencies[min(int(part * len(self.latencies)), len(self.latencies) - 1)]


def _run_callers(call: Callable[[], Any], callers: int, each: int) -> _Rate:
    latencies: list[list[float]] = [[] for _ in range(callers)]
    last: list[Any] = [None] * callers

    def work(number: int) -> None:
        for _ in range(each):
            begun = time.perf_counter()
            last[number] = call()
            latencies[number].append(time.perf_counter() - begun)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _Rate(callers * each, last[0], sorted(one for some in latencies for one in some))


def _online_rows() -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).standard_normal((_ROWS, _COLUMNS), np.float32)


def _requests() -> tuple[bytes, Any]:
    from fastclust import wire
    from fastclust.v1 import online_pb2

    request = online_pb2.AssignRequest(model=_model().name, rows=wire.encode(_online_rows()))
    return request.SerializeToString(), online_pb2.AssignResponse.FromString


def _ours_online(callers: int, each: int, *, busy: bool) -> Callable[[Any], Callable[[], _Rate]]:
    def prepare(_data: Any) -> Callable[[], _Rate]:
        client, (request, parse) = _service("").client, _requests()
        stub = client._connection.channel.unary_unary("/fastclust.v1.OnlineService/Assign")  # noqa: SLF001 - raw, as the peer is
        if busy:
            rows = np.random.default_rng(4).standard_normal((5_000, 16), np.float32)
            job = client.tsne(client.upload(rows), max_iter=10**6)
            while job.progress().fraction == 0:
                time.sleep(0.1)
            _stack.callback(job.cancel)
        return lambda: _parsed(_run_callers(lambda: stub(request), callers, each), parse)

    return prepare


def _parsed(rate: _Rate, parse: Any) -> _Rate:
    from fastclust import wire

    rate.labels = wire.decode(parse(rate.labels).labels)
    return rate


def _bare_online(callers: int, each: int) -> Callable[[Any], Callable[[], _Rate]]:
    def prepare(_data: Any) -> Callable[[], _Rate]:
        stub, (request, _) = _service("").bare.unary_unary("/bare/Echo"), _requests()
        return lambda: _run_callers(lambda: stub(request), callers, each)

    return prepare


def _online_gate(_data: Any, rate: _Rate) -> Verdict:
    if isinstance(rate.labels, bytes):
        return Verdict(rate.labels == _requests()[0], "the bytes that were sent")
    centers = _model().result().cluster_centers.astype(np.float64)
    far = np.linalg.norm(_online_rows()[:, None].astype(np.float64) - centers[None], axis=2)
    right = np.array_equal(rate.labels, far.argmin(axis=1))
    return Verdict(right, "labels are those of float64 NumPy")


def _online_problem(callers: int, each: int, *, busy: bool = False) -> Problem:
    echo = functools.cache(lambda: _bare_online(callers, each)(None)())  # noqa: PLW0108 - a server starts only when asked

    def figures(_data: Any, rate: _Rate) -> dict[str, float]:
        bare = echo()
        return {
            "calls_a_second": rate.calls / (sum(rate.latencies) / callers),
            "p50_ms": 1e3 * statistics.median(rate.latencies),
            "p99_ms": 1e3 * rate.share(0.99),
            "added_p50_ms": 1e3 * (statistics.median(rate.latencies) - statistics.median(bare.latencies)),
            "added_p99_ms": 1e3 * (rate.share(0.99) - bare.share(0.99)),
        }

    targets = [Target("of the bare echo's rate", 0.7, peer="grpcio echo")]
    if callers == 1:
        targets += [
            Target("ms added to the median", 0.5, figure="added_p50_ms", at_most=True),
            Target("ms added to the 99th percentile", 2.0, figure="added_p99_ms", at_most=True),
        ]
    if busy:
        targets = [Target("ms, 99th percentile", 20.0, figure="p99_ms", at_most=True)]
    return Problem(
        f"Assign {_ROWS}x{_COLUMNS} k={_CLUSTERS}, {callers} callers" + (" while a map is made" if busy else ""),
        lambda: None,
        [
            Contender(OURS, _ours_online(callers, each, busy=busy)),
            Contender("grpcio echo", _bare_online(callers, each), remark="the same request, sent back"),
        ],
        _online_gate,
        figures=figures,
        targets=targets,
        rounds=3,
    )


def _problems(size: str) -> Sequence[Problem]:
    small = size == "small"
    each = 300 if small else 3000
    return [
        *_bytes_problems(64 if small else 1024),
        _memory_problem(0.25 if small else 4.2),
        _online_problem(1, each),
        _online_problem(8, each // 4),
        _online_problem(32, each // 16),
        _online_problem(1, each, busy=True),
    ]


def _finish() -> None:
    _stack.close()
    for kept in (_service, _bare_address, _model, _payload):
        kept.cache_clear()


CASE = Case(
    "service", "uploads, downloads and online calls beside bare grpcio and the bare disk", _problems, finish=_finish
)
