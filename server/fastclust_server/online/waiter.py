"""A caller's thread that waits for its answer from the online process."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastclust_server.online.frames import Frame

__all__ = ["Waiter"]


class Waiter:
    """A thread that waits for an answer. A bare lock: it is quicker than an Event, and each call makes one."""

    __slots__ = ("answer", "gave_up", "gone", "leads", "lock", "sent", "size")

    def __init__(self, size: int) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.size = size
        self.answer: Frame | None = None
        #: Its caller went away; the process did.
        self.gave_up = self.gone = False
        #: Whether its request is on its way. Who still sends must not lead: it may wait for somebody to read.
        self.sent = False
        #: Whether this thread reads the link, for all who wait.
        self.leads = False

    @property
    def over(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return self.answer is not None or self.gave_up or self.gone

    def wake(self) -> None:
        """Have it look again."""
        with contextlib.suppress(RuntimeError):  # it is awake
            self.lock.release()
