"""Processes that belong to the server: none outlives it.

``python -m fastclust_server.child PARENT MODULE ...`` ties itself to its parent before it imports what MODULE needs,
which takes seconds on a busy machine: a server that is killed meanwhile leaves nobody behind.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

from fastclust_server import log

__all__ = ["ENVIRONMENT", "ONE_THREAD", "command"]

_PR_SET_PDEATHSIG = 1
#: Libraries must not start processes of their own: nobody would end them after a kill -9.
ENVIRONMENT = {"JOBLIB_MULTIPROCESSING": "0", "LOKY_MAX_CPU_COUNT": "1", "PYTHONUNBUFFERED": "1"}
#: A few rows are done before other threads have woken, and a job may want the cores.
ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs ``module`` in a child of this process, to be started from a thread that lives on."""
    return [sys.executable, "-P", "-m", __name__, str(os.getpid()), module, *arguments]


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends, or end now if it has ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        log.event("no_parent_death_signal", errno=ctypes.get_errno())
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    _die_with(int(sys.argv[1]))
    del sys.argv[:2]  # what is left is the module, as if it had been run itself
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
