"""How many processors a worker may take."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["limited"]


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Let kernels use so many threads inside; None for all there are."""
    if threads is None:
        yield
        return
    import numba

    before = numba.get_num_threads()
    most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined] # made when numba is loaded
    numba.set_num_threads(max(1, min(threads, most)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
