"""The front end's side of the online process: starts it with the first call, and again when it died."""

from __future__ import annotations

import itertools
import os
import select
import threading
import time
from typing import TYPE_CHECKING

from google.rpc import status_pb2

from fastclust.errors import OperationCancelledError, OverloadedError, UnavailableError, WaitTimeoutError
from fastclust_server.online.frames import Frame, Kind, Link, pack_call
from fastclust_server.online.starting import end, start
from fastclust_server.online.waiter import Waiter
from fastclust_server.status import StatusError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    import grpc

    from fastclust_server.config import Settings

__all__ = ["OnlineHandle"]

_LONGEST_PAUSE = 10.0
#: Between two looks at what nobody reads, and until nothing more is thought to come.
_LOOK_SECONDS = 0.2
_PAUSE_SECONDS = 0.005
_GONE = "The online process ended. Call again: it is started anew."


class OnlineHandle:
    """One online process.

    Of the threads that wait for an answer one reads the link, hands the others theirs, and when it has its own leaves
    the reading to one of them: a call alone is answered without waking a second thread.

    Parameters
    ----------
    batched
        Called with method and rows of each batch.
    """

    def __init__(self, root: Path, settings: Settings, batched: Callable[[str, int], None]) -> None:
        self._root = root
        self._settings = settings
        self._batched = batched
        self._guard = threading.Lock()
        self._waiters: dict[int, Waiter] = {}
        self._numbers = itertools.count(1)
        self._bytes = 0
        self._link: Link | None = None
        #: Whether a waiter leads; whether any of this process was answered.
        self._led = self._answered = False
        #: Rung once, when the server stops.
        self._bell, self._rope = os.pipe()
        self._wanted = threading.Event()
        self._up = threading.Event()
        self._closed = False
        # One thread for as long as the server lives: the kernel ties the child's death to it.
        self._thread = threading.Thread(target=self._run, name="online")

    def start(self) -> None:
        """Get ready; the process itself is started by the first call."""
        self._thread.start()

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._wanted.set()
        with self._guard:
            link = self._link
        if link is not None:
            link.hang_up()
        os.write(self._rope, b"!")
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._bell)
        os.close(self._rope)

    def forget(self, job: str) -> None:
        """Say that a job is no more."""
        with self._guard:
            link = self._link
        if link is not None:
            try:
                link.send(Frame(Kind.FORGET, 0, job.encode()))
            except OSError:
                return  # it died, and forgot everything

    def call(self, method: int, owner: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Have a call answered; returns the response's bytes.

        Raises
        ------
        StatusError
            With the status that the caller gets.
        OverloadedError
            Too many bytes wait.
        UnavailableError
            The process died over it, or the server stops.
        WaitTimeoutError
            The caller's time is over.
        """
        seconds = context.time_remaining()
        left = float("inf") if seconds is None else seconds
        waiter = Waiter(len(request))
        number = next(self._numbers)
        link = self._connected(left)
        with self._guard:
            if self._bytes + waiter.size > self._settings.online_bytes and self._waiters:
                raise OverloadedError(f"{self._bytes} bytes of online calls are waiting already.", retry_after=0.5)
            if self._link is not link:
                raise UnavailableError(_GONE)
            self._waiters[number] = waiter
            self._bytes += waiter.size
        try:
            _deliver(link, Frame(Kind.CALL, number, pack_call(method, owner, left, request)))
            with self._guard:
                waiter.sent = True
                if not self._led and self._link is link and not waiter.over:
                    self._led = waiter.leads = True
            if not context.add_callback(lambda: self._gave_up(number)):
                self._gave_up(number)
            if not self._wait(waiter, link, time.monotonic() + left):
                self._gave_up(number)
                raise WaitTimeoutError("The call's time is over.")
        finally:
            self._leave(number, waiter, link)
        if waiter.gave_up:
            raise OperationCancelledError("The caller went away.")
        answer = waiter.answer
        if answer is None:
            raise UnavailableError(_GONE)
        if answer.kind is Kind.REFUSAL:
            raise StatusError(status_pb2.Status.FromString(answer.payload))
        return answer.payload

    def _wait(self, waiter: Waiter, link: Link, deadline: float) -> bool:
        """Wait until a call is over, in the lead or led; return whether that was before the deadline."""
        while not waiter.over:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if not waiter.leads:
                waiter.lock.acquire(timeout=min(left, threading.TIMEOUT_MAX))
                continue
            burst = link.burst(left)
            if burst is None:
                waiter.gone = True
                return True
            for frame in burst:
                self._hand_out(frame)
        return True

    def _hand_out(self, frame: Frame) -> bool:
        """Give a frame to who waits for it; return whether somebody does."""
        self._answered = True
        if frame.kind is Kind.BATCH:
            self._batched(frame.payload.decode(), frame.number)
        elif frame.kind is not Kind.CANCELLED:
            waiter = self._settle(frame.number)
            if waiter is not None:
                waiter.answer = frame
                if not waiter.leads:
                    waiter.wake()
                return True
        return False

    def _leave(self, number: int, waiter: Waiter, link: Link) -> None:
        """Settle a call; if its thread led, another one does from now on."""
        with self._guard:
            self._drop(number)
            if waiter.leads and self._link is link:
                self._pass_on()

    def _pass_on(self) -> None:
        """Have one of those who wait lead, if there is one."""
        heir = next((waiter for waiter in self._waiters.values() if waiter.sent), None)
        self._led = heir is not None
        if heir is not None:
            heir.leads = True
            heir.wake()

    def _drain(self, link: Link) -> None:
        """Read what came while nobody leads: answers that nobody waits for, behind which others would be held up.

        Callers that came meanwhile have the lead as soon as one of them was answered: one after the other they would
        keep it here, and each would wait for a second thread.
        """
        with self._guard:
            if self._led or self._link is not link:
                return
            self._led = True
        try:
            while link.ready(_PAUSE_SECONDS):
                burst = link.burst()
                if burst is None:
                    return
                if sum(map(self._hand_out, burst)):
                    return
        finally:
            with self._guard:
                if self._link is link:
                    self._pass_on()

    def _connected(self, seconds: float) -> Link:
        link = self._link
        if link is None:
            self._wanted.set()
            self._up.wait(min(seconds, 60.0))
            link = self._link
            if link is None:
                raise UnavailableError("The online process is not up. Call again in a moment.")
        return link

    def _settle(self, number: int) -> Waiter | None:
        with self._guard:
            return self._drop(number)

    def _drop(self, number: int) -> Waiter | None:
        waiter = self._waiters.pop(number, None)
        if waiter is not None:
            self._bytes -= waiter.size
        return waiter

    def _gave_up(self, number: int) -> None:
        """The call has ended; if it was not answered, nobody waits for it any more."""
        waiter = self._settle(number)
        if waiter is None:
            return
        waiter.gave_up = True
        waiter.wake()
        link = self._link
        if link is not None:
            try:
                link.send(Frame(Kind.CANCEL, number, b""))
            except OSError:
                return

    def _run(self) -> None:
        pause = 0.0
        while True:
            self._wanted.wait()
            if self._closed:
                return
            process, link = self._spawn()
            self._watch(process, link)
            with self._guard:
                self._link = None
                self._up.clear()
                waiting, self._waiters = self._waiters, {}
                self._bytes, self._led = 0, False
            for waiter in waiting.values():
                waiter.gone = True
                waiter.wake()
            # Whoever reads is told so; the end itself goes when nobody holds it any more.
            link.hang_up()
            end(process)
            # In this order: who closes rings after it has closed.
            self._wanted.clear()
            if self._closed:
                return
            pause = 0.0 if self._answered else min(max(2 * pause, 0.25), _LONGEST_PAUSE)
            if pause:
                threading.Event().wait(pause)

    def _watch(self, process: subprocess.Popen[bytes], link: Link) -> None:
        """Return when the process has ended, or shall."""
        handle = os.pidfd_open(process.pid)
        try:
            while not any(select.select([handle, self._bell], [], [], _LOOK_SECONDS)):
                self._drain(link)
        finally:
            os.close(handle)

    def _spawn(self) -> tuple[subprocess.Popen[bytes], Link]:
        process, ours = start(self._root, self._settings)
        link = Link(ours)
        with self._guard:
            self._link, self._answered = link, False
        self._up.set()
        if self._closed:
            link.hang_up()
        return process, link


def _deliver(link: Link, frame: Frame) -> None:
    try:
        link.send(frame)
    except OSError as error:
        raise UnavailableError(_GONE) from error
