"""Reads ahead: the next item is made by another thread while the caller works on the last one."""

from __future__ import annotations

import threading
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["ahead"]

T = TypeVar("T")


class _Slot:
    """One item on its way, or the end, or what went wrong."""

    def __init__(self) -> None:
        self.item: list[object] = []
        self.error: BaseException | None = None
        self.ended = False
        self.wanted = threading.Semaphore(1)
        self.ready = threading.Semaphore(0)
        self.stopped = False


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Yield ``items``; at most two are alive at once: the caller's and the one being made.

    The thread ends when the items do, when one of them raises (the caller gets the error), or when the caller stops.
    """
    slot = _Slot()
    thread = threading.Thread(target=_make, args=(items, slot), name="fastclust-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            slot.ready.acquire()
            if slot.error is not None:
                raise slot.error
            if slot.ended:
                return
            item = slot.item.pop()
            slot.wanted.release()
            yield item  # type: ignore[misc]
            # The caller is done with it: nothing here may keep it alive while the next ones are made.
            del item
    finally:
        slot.stopped = True
        slot.wanted.release()
        thread.join()


def _make(items: Iterator[T], slot: _Slot) -> None:
    with closing(items) if hasattr(items, "close") else nullcontext():  # type: ignore[type-var]
        try:
            while True:
                slot.wanted.acquire()
                if slot.stopped:
                    return
                item = next(items, slot)
                if item is slot:
                    break
                slot.item.append(item)
                del item
                slot.ready.release()
        except BaseException as error:  # noqa: BLE001 - handed to the caller, who raises it
            slot.error = error
        slot.ended = True
        slot.ready.release()
