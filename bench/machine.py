"""Where and with what a figure was measured."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "describe",
    "equalise",
    "peak_memory",
    "prepare_threads",
    "reset_peak_memory",
    "threads_available",
    "threads_given",
    "version_of",
    "watched_anonymous",
]

_ROOT = Path(__file__).resolve().parent.parent
#: Widest first.
_VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}


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
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+changes" if _changed() else ""),
        "tuning": {name: os.environ[name] for name in _TUNING if name in os.environ},
        "versions": {name: version for name in names if (version := version_of(name))},
    }


def _cpu() -> str:
    """Model and widest vectors: one name of a virtual processor may stand for several generations."""
    about = {}
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        about.setdefault(name.strip(), value.strip())
    flags = about.get("flags", "").split()
    wide = next((f" with {name}" for flag, name in _VECTORS.items() if flag in flags), "")
    return about.get("model name", platform.processor() or platform.machine()) + wide


def _changed() -> str:
    """What was measured before, and the tables made of it, are no change of what is measured."""
    return _git("status", "--porcelain", "--", ".", ":!bench/results", ":!README.md")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("" if done.returncode == 0 else "unknown")


def prepare_threads(threads: int) -> None:
    """Tell libraries that are not loaded yet how many threads to start."""
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)


def threads_given() -> int:
    """How many threads a library that asks may take."""
    return int(os.environ.get("OMP_NUM_THREADS") or threads_available())


def equalise(threads: int) -> None:
    """Give every library that is loaded the same number of threads."""
    import threadpoolctl

    for name, limit in _LIMITS.items():
        if name in sys.modules:
            limit(sys.modules[name], threads)
    # Last: Numba loads the library of its threads when it is first asked for them.
    threadpoolctl.threadpool_limits(threads)


def _limit_numba(numba: Any, threads: int) -> None:
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))


#: By module: what threadpoolctl does not reach.
_LIMITS: dict[str, Callable[[Any, int], object]] = {
    "numba": _limit_numba,
    "torch": lambda torch, threads: torch.set_num_threads(threads),
    "faiss": lambda faiss, threads: faiss.omp_set_num_threads(threads),
    "daal4py": lambda daal4py, threads: daal4py.daalinit(threads),
}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
#: Variables that change what BLAS libraries do: a figure under them is not one of a machine without them.
_TUNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES")


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


@contextlib.contextmanager
def watched_anonymous() -> Iterator[list[int]]:
    """Put the most anonymous memory above what there was into the list: pages of mapped files do not count."""
    _trim()
    before, found, going = _status("RssAnon"), [0], threading.Event()

    def watch() -> None:
        while not going.wait(0.002):
            found[0] = max(found[0], _status("RssAnon") - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        going.set()
        thread.join()


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)
