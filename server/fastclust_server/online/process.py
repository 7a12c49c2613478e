"""The online process: reads calls, answers them in batches. Started by the front end only."""

from __future__ import annotations

import argparse
import math
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from fastclust.errors import InputError
from fastclust_server import log, names, status
from fastclust_server.database import Database
from fastclust_server.jobs.store import JobStore
from fastclust_server.online.answers import METHODS
from fastclust_server.online.batching import Batcher, Item
from fastclust_server.online.frames import METHODS as NAMES
from fastclust_server.online.frames import Frame, Kind, Link, unpack_call
from fastclust_server.online.models import Models
from fastclust_server.storage.catalog import Catalog
from fastclust_server.storage.folder import DataFolder

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from concurrent.futures import Future

    from fastclust_server.online.answers import Asked
    from fastclust_server.online.models import Loaded

__all__ = ["Online", "main"]

#: Rows of one batch. Larger ones gain nothing and make others wait.
_BATCH_BYTES = 4 * 2**20
#: A call that takes no longer is answered where it was read: handing it to another thread takes as long.
_QUICK_SECONDS = 0.001
_QUICK_BYTES = 2**17
_MOST_KEYS = 1024


class Online:
    """Answers what comes over a link, until its other end is gone."""

    def __init__(self, link: Link, models: Models, delay: float) -> None:
        self._link = link
        self._models = models
        self._batcher = Batcher(_BATCH_BYTES, delay)
        self._answering = threading.Lock()
        #: Seconds of the processor that a call of the last batch took, by key.
        self._seconds: dict[Hashable, float] = {}

    def run(self) -> None:
        """Read calls in this thread; answer them in another."""
        answering = threading.Thread(target=self._answer, name="answering")
        answering.start()
        while (burst := self._link.burst()) is not None:
            for frame in burst:
                self._read(frame)
            self._answer_here()
        self._batcher.close()
        answering.join()

    def _read(self, frame: Frame) -> None:
        if frame.kind is Kind.CALL:
            try:
                self._take(frame)
            except Exception as error:  # noqa: BLE001 - one call's error is that call's
                self._refuse(frame.number, error)
        elif frame.kind is Kind.CANCEL:
            self._batcher.cancel(frame.number)
            self._send(Frame(Kind.CANCELLED, frame.number, b""))  # whoever reads there may be the one who gave up
        else:
            self._models.forget(frame.payload.decode())

    def _take(self, frame: Frame) -> None:
        number, owner, seconds, data = unpack_call(frame.payload)
        method = NAMES[number]
        deadline = time.monotonic() + seconds
        try:
            request = METHODS[method].parse(data)
        except DecodeError as error:
            raise InputError("request", "bytes that are no such message", f"{method}Request") from error
        job = names.parse(request.model, "jobs", "model")
        future = self._models.get(owner, job, method)
        if future.done():
            self._queue(frame.number, method, deadline, request, future, wake=False)
        else:
            future.add_done_callback(lambda done: self._queue(frame.number, method, deadline, request, done, wake=True))

    def _queue(
        self, number: int, method: str, deadline: float, request: object, model: Future[Loaded], *, wake: bool
    ) -> None:
        """Check a call against its model, which is ready now, and let it wait for a batch."""
        try:
            loaded = model.result()
            asked = METHODS[method].check(request, loaded)
        except Exception as error:  # noqa: BLE001 - one call's error is that call's
            self._refuse(number, error)
            return
        key = (method, loaded.record.id, asked.key)
        self._batcher.put(Item(number, key, asked.nbytes, deadline, (method, asked, loaded)), wake=wake)

    def _answer(self) -> None:
        while (batch := self._batcher.take()) is not None:
            with self._answering:
                self._answer_batch(batch)

    def _answer_here(self) -> None:
        """Answer in the reading thread what takes no longer than waking the other one; that one does the rest.

        A slow batch here would keep the front end from sending, and cancelled calls from being dropped.
        """
        if self._answering.acquire(blocking=False):
            try:
                while batch := self._batcher.take_now(_QUICK_BYTES, self._is_quick):
                    self._answer_batch(batch)
            finally:
                self._answering.release()
        self._batcher.wake()

    def _is_quick(self, key: Hashable) -> bool:
        return self._seconds.get(key, math.inf) < _QUICK_SECONDS

    def _answer_batch(self, batch: list[Item]) -> None:
        # Not the clock: what other programs took of it is no reason to hand the next call to another thread.
        begun = time.thread_time()
        method, _, loaded = batch[0].work
        calls: list[Asked] = [item.work[1] for item in batch]
        answers = _answers(method, calls, loaded)
        frames = [
            self._refusal(item.number, one)
            if isinstance(one, Exception)
            else Frame(Kind.REPLY, item.number, one.SerializeToString())
            for item, one in zip(batch, answers, strict=True)
        ]
        rows = sum(len(call.rows) for call in calls)
        self._send(*frames, Frame(Kind.BATCH, rows, method.encode()))
        if len(self._seconds) > _MOST_KEYS:
            self._seconds.clear()
        self._seconds[batch[0].key] = (time.thread_time() - begun) / len(batch)

    def _refuse(self, number: int, error: Exception) -> None:
        self._send(self._refusal(number, error))

    @staticmethod
    def _refusal(number: int, error: Exception) -> Frame:
        told = status.deliberate(error)
        if told is not error:
            log.failure("online_failed", error)
        return Frame(Kind.REFUSAL, number, status.to_status(told).SerializeToString())

    def _send(self, *frames: Frame) -> None:
        try:
            self._link.send(*frames)
        except OSError:
            return  # the front end is gone; the reader ends this process


def _answers(method: str, calls: Sequence[Asked], loaded: Loaded) -> Sequence[Any]:
    """Return responses in order, or errors: what one call's rows do to a batch, they do to that call alone."""
    try:
        return METHODS[method].answer(calls, loaded)
    except Exception as error:  # noqa: BLE001 - it becomes the call's status
        return [error] if len(calls) == 1 else [_answers(method, [call], loaded)[0] for call in calls]


def main() -> None:
    """Run the online process."""
    parser = argparse.ArgumentParser(prog="fastclust_server.online.process")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--delay", type=float, required=True)
    arguments = parser.parse_args()
    log.hear_library()
    folder = DataFolder(arguments.data)
    database = Database(os.environ.get("FASTCLUST_DATABASE") or folder.database_url)
    models = Models(folder, JobStore(database), Catalog(database), arguments.memory)
    Online(Link(socket.socket(fileno=arguments.socket)), models, arguments.delay).run()
    os._exit(0)  # threads of numeric libraries may still be there


if __name__ == "__main__":
    main()
