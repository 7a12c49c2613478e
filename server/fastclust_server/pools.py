"""Threads of the front end, apart by what they may wait for: a slow reader must not keep a short call waiting."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from typing_extensions import override

from fastclust_server import log

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


class _Task:
    """What gRPC asks of a future: to be told when it is done. A whole one costs as much as handing it over."""

    __slots__ = ("args", "callbacks", "done", "fn", "kwargs")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.done = False
        self.callbacks: list[Callable[[Any], object]] = []

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        self.callbacks.append(fn)
        if self.done:
            self.tell()

    def run(self) -> None:
        try:
            self.fn(*self.args, **self.kwargs)
        except Exception as error:  # noqa: BLE001 - gRPC's own functions raise nothing that is a caller's
            log.failure("pool_failed", error)
        self.done = True

    def tell(self) -> None:
        """Call back, each once, whichever thread comes first."""
        while True:
            try:
                callback = self.callbacks.pop()
            except IndexError:
                return
            callback(self)


class CountedPool(ThreadPoolExecutor):
    """A pool that knows how many calls it has: those that run and those that wait.

    gRPC takes no pool that is not of this base; threads and queue are its own, as the base's take longer to hand a call
    over than a short call takes.
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, name)
        self._most, self._name = threads, name
        self._guard = threading.Lock()
        self._calls: SimpleQueue[_Task | None] = SimpleQueue()
        self._workers: list[threading.Thread] = []
        self._over = False
        self.held = 0

    @override
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run ``fn`` as soon as a thread is free. What is returned has ``add_done_callback`` and nothing else."""
        task = _Task(fn, args, kwargs)
        with self._guard:
            if self._over:
                raise RuntimeError("The pool is closed.")
            self.held += 1
            if self.held > len(self._workers) < self._most:
                worker = threading.Thread(target=self._work, name=f"{self._name}_{len(self._workers)}", daemon=True)
                self._workers.append(worker)
                worker.start()
            self._calls.put(task)
        return cast("Future[T]", task)

    def _work(self) -> None:
        while (task := self._calls.get()) is not None:
            task.run()
            with self._guard:
                self.held -= 1
            task.tell()

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and wait for those that are here; there is nothing to cancel them by."""
        with self._guard:
            if not self._over:
                self._over = True
                for _ in self._workers:
                    self._calls.put(None)
        if wait:
            for worker in self._workers:
                worker.join()
        super().shutdown(wait, cancel_futures=cancel_futures)


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
