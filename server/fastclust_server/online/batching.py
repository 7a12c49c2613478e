"""Forms batches of calls that can be answered together: by bytes of rows, without waiting unless told to."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["Batcher", "Item"]


@dataclass(slots=True)
class Item:
    """One call."""

    number: int
    #: Calls with equal keys can be one batch.
    key: Hashable
    #: Bytes of its rows.
    nbytes: int
    #: On the monotonic clock; when its caller gives up.
    deadline: float
    #: What answering needs.
    work: Any
    arrived: float = 0.0


class Batcher:
    """Calls that wait, by key.

    Parameters
    ----------
    most_bytes
        A batch ends when its rows reach this; one call alone may be larger.
    delay
        Seconds that the oldest call may wait for others. 0: a batch is whatever came while the last one was worked at.
    """

    def __init__(self, most_bytes: int, delay: float = 0.0) -> None:
        self._most = most_bytes
        self._delay = delay
        self._changed = threading.Condition()
        self._waiting: dict[Hashable, deque[Item]] = {}
        self._cancelled: set[int] = set()
        self._held: set[int] = set()
        self._closed = False

    def put(self, item: Item, *, wake: bool = True) -> None:
        """Add a call. Without ``wake`` it waits for :meth:`take_now`, :meth:`wake` or a later call."""
        item.arrived = time.monotonic()
        with self._changed:
            self._waiting.setdefault(item.key, deque()).append(item)
            self._held.add(item.number)
            if wake:
                self._changed.notify()

    def wake(self) -> None:
        """Have :meth:`take` look at what waits."""
        with self._changed:
            if self._waiting:
                self._changed.notify()

    def cancel(self, number: int) -> None:
        """Forget a call whose caller went away."""
        with self._changed:
            if number in self._held:
                self._cancelled.add(number)

    def close(self) -> None:
        """End; :meth:`take` returns None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> list[Item] | None:
        """Wait for calls and return a batch, those of the oldest call's key first; None when closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return None
                key = min(self._waiting, key=lambda one: self._waiting[one][0].arrived)
                group = self._waiting[key]
                self._drop(group)
                if not group:
                    del self._waiting[key]
                    continue
                if self._delay > 0:
                    left = group[0].arrived + self._delay - time.monotonic()
                    if left > 0 and sum(item.nbytes for item in group) < self._most:
                        self._changed.wait(left)
                        continue
                batch = self._gather(group, self._most)
                if not group:
                    del self._waiting[key]
                return batch

    def take_now(self, most_bytes: int, wanted: Callable[[Hashable], bool]) -> list[Item]:
        """Return the oldest call's batch, of no more than ``most_bytes``; nothing where its key is not ``wanted``."""
        with self._changed:
            if self._delay > 0 or self._closed or not self._waiting:
                return []
            key = min(self._waiting, key=lambda one: self._waiting[one][0].arrived)
            group = self._waiting[key]
            self._drop(group)
            batch: list[Item] = []
            if group and group[0].nbytes <= most_bytes and wanted(key):
                batch = self._gather(group, most_bytes)
            if not group:
                del self._waiting[key]
            return batch

    def _drop(self, group: deque[Item]) -> None:
        """Leave out calls that nobody waits for any more."""
        now = time.monotonic()
        kept = [item for item in group if item.number not in self._cancelled and item.deadline > now]
        if len(kept) < len(group):
            gone = {item.number for item in group} - {item.number for item in kept}
            self._held -= gone
            self._cancelled -= gone
            group.clear()
            group.extend(kept)

    def _gather(self, group: deque[Item], most: int) -> list[Item]:
        batch: list[Item] = []
        total = 0
        while group and (not batch or total + group[0].nbytes <= most):
            item = group.popleft()
            batch.append(item)
            total += item.nbytes
            self._held.discard(item.number)
        return batch
