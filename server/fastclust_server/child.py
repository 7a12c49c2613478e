"""Processes that belong to the server: none outlives it."""

from __future__ import annotations

import ctypes
import os
import signal

from fastclust_server import log

__all__ = ["ENVIRONMENT", "ONE_THREAD", "die_with"]

_PR_SET_PDEATHSIG = 1
#: Libraries must not start processes of their own: nobody would end them after a kill -9.
ENVIRONMENT = {"JOBLIB_MULTIPROCESSING": "0", "LOKY_MAX_CPU_COUNT": "1", "PYTHONUNBUFFERED": "1"}


#: A few rows are done before other threads have woken, and a job may want the cores.
ONE_THREAD = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends, or end now if it has ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        log.event("no_parent_death_signal", errno=ctypes.get_errno())
    if os.getppid() != parent:
        os._exit(0)
