"""How much memory work on a source may take, and whether its rows fit into it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from fastclust.data.source import RowSource

__all__ = ["block_rows", "floating", "is_streamed", "memory_of", "view_rows"]

#: Bytes of a block at most: enough that reading and launching cost little, and kernels have work for all processors.
_BLOCK_BYTES = 1 << 26
#: Bytes that are kept for a row of a block, such as its labels before and now, its distance, its place in an order.
_KEPT = 64


def floating(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which rows of a file are worked on: float32 for what it holds exactly."""
    if dtype.kind == "f":
        return np.dtype(np.float64 if dtype.itemsize > 4 else np.float32)
    return np.dtype(np.float32 if dtype.itemsize <= 2 else np.float64)


def memory_of(source: RowSource) -> int:
    """Bytes that work on the source may take: what it was opened with, or a quarter of what is free."""
    if source.memory is not None:
        return source.memory
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 // 4
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8


def is_streamed(X: Any) -> bool:
    """Whether ``X`` is a source whose rows take more than half of the memory that it may."""
    if not isinstance(X, RowSource) or X.in_memory:
        return False
    return X.shape[0] * X.shape[1] * floating(X.dtype).itemsize > memory_of(X) // 2


def view_rows(memory: int, row_bytes: int, unit: int = 1) -> int:
    """Rows of a block that is a view of mapped pages: what counts is what is kept for each row while it is worked on.

    More rows than :func:`block_rows` gives, so that launches and waiting for the last thread cost less.
    """
    most = min(_BLOCK_BYTES // (row_bytes * unit), memory // 12 // (_KEPT * unit))
    return max(1, most) * unit


def block_rows(memory: int, row_bytes: int, unit: int = 1) -> int:
    """Rows of a block, a multiple of ``unit``: beside blocks that are read and changed, there is room for work."""
    return max(1, min(memory // 12, _BLOCK_BYTES) // (row_bytes * unit)) * unit
