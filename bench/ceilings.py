"""What the machine can do at best, measured in the same run as the figures that are shown as a share of it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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


def sgemm_square(n: int = 3072) -> float:
    """FLOP/s of a square float32 matrix product."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((n, n), np.float32) for _ in range(2))
    out = np.empty_like(a)
    return 2.0 * n**3 / _best(lambda: np.dot(a, b, out=out))


def sgemm_block(d: int, centers: int = 256, rows: int = 1024) -> float:
    """FLOP/s of ``np.dot(center_block, row_block.T, out=)`` from the second-level cache: one thread, times cores.

    The most that an assignment can reach that computes every distance through the BLAS in cache-sized blocks.
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
    return turns * 2.0 * centers * rows * d / seconds * len(os.sched_getaffinity(0))


def copy_bandwidth(megabytes: int = 512) -> float:
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


CEILINGS: dict[str, Callable[..., float]] = {
    "sgemm-square": sgemm_square,
    "sgemm-block": sgemm_block,
    "copy": copy_bandwidth,
    "disk-write": disk_write,
}

#: What a second of each is counted in.
UNITS = {"sgemm-square": "flops", "sgemm-block": "flops", "copy": "bytes", "disk-write": "bytes"}


def measure(name: str, **arguments: Any) -> float:
    """Measure a ceiling now: FLOP, bytes or calls a second."""
    return CEILINGS[name](**arguments)
