"""Threads for work that blocks, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Threads"]

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Two pools: short transactions never queue behind long reads and checks of files."""

    def __init__(self) -> None:
        self._store = ThreadPoolExecutor(4, "store")
        self._disk = ThreadPoolExecutor(8, "disk")

    async def store(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one short transaction."""
        return await asyncio.get_running_loop().run_in_executor(self._store, lambda: function(*args, **kwargs))

    async def disk(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Read, write or check a file."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """Wait for what runs."""
        self._store.shutdown(cancel_futures=True)
        self._disk.shutdown(cancel_futures=True)
