"""How many processors a worker may take."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["limited"]

_libraries: list[Any] = []


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Let our kernels, BLAS, OpenMP and torch use so many threads inside; None for all there are.

    The libraries' limits are the process's, so that a worker is best alone in its own.
    """
    if threads is None:
        yield
        return
    import numba

    if not _libraries:
        import scipy.linalg  # noqa: F401 - what is loaded later would not be limited
        from threadpoolctl import ThreadpoolController

        _libraries.append(ThreadpoolController())
    before = numba.get_num_threads()
    most: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined] # made when numba is loaded
    with ExitStack() as then:
        then.callback(numba.set_num_threads, before)
        numba.set_num_threads(max(1, min(threads, most)))
        then.enter_context(_libraries[0].limit(limits=threads))
        # Its own pool is not one that the controller knows.
        torch = sys.modules.get("torch")
        if torch is not None:
            then.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        yield
