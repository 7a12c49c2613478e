"""Ends streams that stand still: their peer is gone, or does not read, and would hold a thread for ever."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fastclust_server import log

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

__all__ = ["Stalls"]

_LOOK_SECONDS = 1.0


class Stalls:
    """Watches over streams; one thread for all of them.

    Parameters
    ----------
    seconds
        How long a stream may stand still.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[Any, float] = {}
        self._guard = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stalls", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._end.set()
        self._thread.join()

    @contextmanager
    def watching(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Watch over a stream inside the block."""
        self.moved(context)
        try:
            yield
        finally:
            with self._guard:
                self._since.pop(context, None)

    def moved(self, context: grpc.ServicerContext) -> None:
        """Say that a message passed."""
        with self._guard:
            self._since[context] = time.monotonic()

    def _run(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            before = time.monotonic() - self._seconds
            with self._guard:
                stalled = [context for context, since in self._since.items() if since < before]
                for context in stalled:
                    del self._since[context]
            for context in stalled:
                log.event("stream_stalled", peer=context.peer(), seconds=self._seconds)
                context.cancel()
