"""Where and with what a figure was measured."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import subprocess
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["describe", "limited", "peak_memory", "reset_peak_memory", "threads_available", "version_of"]

_ROOT = Path(__file__).resolve().parent.parent


def threads_available() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def version_of(distribution: str) -> str | None:
    """Installed version, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def describe(distributions: set[str], threads: int) -> dict[str, object]:
    """Machine, commit and versions, as they go into each record."""
    names = sorted({"numpy", "scipy", "numba", "torch", *distributions})
    return {
        "cpu": _cpu(),
        "cores": threads_available(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": threads,
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+changes" if _git("status", "--porcelain") else ""),
        "versions": {name: version for name in names if (version := version_of(name))},
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("" if done.returncode == 0 else "unknown")


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Give every library that is loaded or will be loaded the same number of threads."""
    import numba
    import torch
    from threadpoolctl import threadpool_limits

    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(threads))
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        torch.set_num_threads(threads)
        if version_of("faiss-cpu") or version_of("faiss-gpu"):
            import faiss

            faiss.omp_set_num_threads(threads)
        yield


def reset_peak_memory() -> int:
    """Give freed memory back and start the peak anew; returns the bytes resident now."""
    _trim()
    Path("/proc/self/clear_refs").write_text("5", "utf-8")
    return _status("VmRSS")


def _trim() -> None:
    """What was freed but kept by glibc would hide an allocation of that size."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory() -> int:
    """Largest resident set since :func:`reset_peak_memory`, in bytes."""
    return _status("VmHWM")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)
