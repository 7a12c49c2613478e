"""What the machine can do at best, measured in the same run as the figures that are shown as a share of it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import machine

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CEILINGS", "UNITS", "measure"]

_REPEATS = 3


def _best(work: Callable[[], object]) -> float:
    work()
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def sgemm_square(n: int = 2048) -> float:
    """FLOP/s of a square float32 matrix product."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((n, n), np.float32) for _ in range(2))
    out = np.empty_like(a)
    return 2.0 * n**3 / _best(lambda: np.dot(a, b, out=out))


def sgemm_block(d: int, centers: int = 256, rows: int = 512) -> float:
    """FLOP/s of ``np.dot(center_block, row_block.T, out=)`` from the second-level cache: one thread, times threads.

    The most that an assignment can reach that computes every distance through the BLAS in cache-sized blocks; 512 rows
    were the best of 128 to 1024 for d = 64, 128 and 784.
    """
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    block, tile = rng.standard_normal((centers, d), np.float32), rng.standard_normal((rows, d), np.float32)
    out = np.empty((centers, rows), np.float32)
    turns = max(1, int(2e9 / (2.0 * centers * rows * d)))

    def work() -> None:
        for _ in range(turns):
            np.dot(block, tile.T, out=out)

    with threadpool_limits(1):
        seconds = _best(work)
    return turns * 2.0 * centers * rows * d / seconds * machine.threads_given()


def copy_bandwidth(megabytes: int = 256) -> float:
    """Bytes read and written a second by a large copy."""
    source = np.ones(megabytes * 2**20 // 8)
    target = np.empty_like(source)
    return 2.0 * source.nbytes / _best(lambda: np.copyto(target, source))


def disk_write(megabytes: int = 256) -> float:
    """Bytes a second of writing one file in 1 MiB pieces and syncing it."""
    piece = os.urandom(2**20)

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder, (Path(folder) / "f").open("wb", buffering=0) as file:
            for _ in range(megabytes):
                file.write(piece)
            os.fsync(file.fileno())

    return megabytes * 2.0**20 / _best(work)


def file_read(megabytes: int = 256) -> float:
    """Bytes a second of reading a file that lies in the system's cache, in 1 MiB pieces, with one thread."""
    buffer = bytearray(2**20)

    def read(path: Path) -> None:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(os.urandom(2**20) * megabytes)
        return megabytes * 2.0**20 / _best(lambda: read(path))


def grpc_upload(megabytes: int = 256) -> float:
    """Bytes a second of a stream of 1 MiB messages to a bare grpcio server on the loopback, in a process of its own."""
    from bench.bare_grpc import serving

    piece = bytes(2**20)
    with serving() as bare:
        return megabytes * 2.0**20 / _best(lambda: bare.upload(piece for _ in range(megabytes)))


def grpc_download(megabytes: int = 256) -> float:
    """The same from the server."""
    from bench.bare_grpc import serving

    with serving() as bare:
        return megabytes * 2.0**20 / _best(lambda: bare.download(megabytes))


def grpc_echo(calls: int = 1000, size: int = 1024) -> float:
    """Unary calls a second of one caller to the same server, which sends the ``size`` bytes back."""
    from bench.bare_grpc import serving

    message = bytes(size)
    with serving() as bare:
        return calls / _best(lambda: [bare.echo(message) for _ in range(calls)])


#: Each with the unit of work that a second of it is counted in.
_ALL: dict[str, tuple[str, Callable[..., float]]] = {
    "sgemm-square": ("flops", sgemm_square),
    "sgemm-block": ("flops", sgemm_block),
    "copy": ("bytes", copy_bandwidth),
    "disk-write": ("bytes", disk_write),
    "file-read": ("bytes", file_read),
    "grpc-upload": ("bytes", grpc_upload),
    "grpc-download": ("bytes", grpc_download),
    "grpc-echo": ("calls", grpc_echo),
}
CEILINGS = {name: work for name, (_, work) in _ALL.items()}
UNITS = {name: unit for name, (unit, _) in _ALL.items()}


def measure(name: str, **arguments: Any) -> float:
    """Measure a ceiling now: FLOP, bytes or calls a second."""
    return CEILINGS[name](**arguments)
