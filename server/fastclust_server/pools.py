"""Threads of the front end, apart by what they may wait for: a slow reader must not keep a short call waiting."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CountedPool", "Pools"]

P = ParamSpec("P")
T = TypeVar("T")

#: Unary calls of data sets, jobs and artifacts: short transactions.
_CALLS = 16
#: Streams of bytes; each holds its thread for as long as it lasts.
_TRANSFERS = 64
#: Calls that are with the online process.
_ONLINE = 32
#: States of watched jobs on their way out: a thread is held only while one is sent.
_WATCHES = 256


class CountedPool(ThreadPoolExecutor):
    """A pool that knows how many calls it has: those that run and those that wait."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, name)
        self._guard = threading.Lock()
        self.held = 0

    @override
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run ``fn`` as soon as a thread is free."""
        with self._guard:
            self.held += 1
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(self._done)
        return future

    def _done(self, _future: Future[Any]) -> None:
        with self._guard:
            self.held -= 1


class Pools:
    """All of them."""

    def __init__(self) -> None:
        self.calls = ThreadPoolExecutor(_CALLS, "calls")
        self.transfers = CountedPool(_TRANSFERS, "transfers")
        self.online = CountedPool(_ONLINE, "online")
        self.watches = ThreadPoolExecutor(_WATCHES, "watches")

    def close(self) -> None:
        """Wait for what runs."""
        for pool in (self.calls, self.transfers, self.online, self.watches):
            pool.shutdown(cancel_futures=True)
