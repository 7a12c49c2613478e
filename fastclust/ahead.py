"""Reads an iterator ahead in a thread of its own, so that making an item and using it happen at once."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ahead"]

T = TypeVar("T")
_END = object()


def ahead(items: Iterable[T], depth: int = 4) -> Iterator[T]:
    """Yield ``items`` in order, up to ``depth`` of them made before they are asked for. What they raise is raised."""
    made: queue.Queue[object] = queue.Queue(depth)
    over = threading.Event()

    def read() -> None:
        end: object = _END
        try:
            for item in items:
                if not _put(made, item, over):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the items are used
            end = _Raised(error)
        _put(made, end, over)

    threading.Thread(target=read, name="ahead", daemon=True).start()
    try:
        while (item := made.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            yield cast("T", item)
    finally:
        over.set()


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _put(made: queue.Queue[object], item: object, over: threading.Event) -> bool:
    """Wait for room; return False once nobody takes items any more."""
    while not over.is_set():
        try:
            made.put(item, timeout=0.5)
        except queue.Full:
            continue
        return True
    return False
