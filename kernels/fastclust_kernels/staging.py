"""Blocks of rows of the host on a GPU, the next one on its way while one is worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

__all__ = ["Staging"]


class Staging:
    """Two blocks of pinned host memory and two of the device, used in turns, pass after pass.

    Pinned memory is what a GPU copies from by itself, on a stream of its own. A pinned block is written to again once
    its copy is done, a block of the device once the work on it is: also where the copy or the work is of the pass
    before, or of one that was given up. When a pass has ended, in whatever way, the current stream waits for all
    copies, so that what is freed then is used by none of them.

    Parameters
    ----------
    rows, width, dtype
        Most rows of a block, and what a row is.
    device
        Where they go.
    cuda
        ``torch.cuda``, or what stands for it in a test; None for no streams and no pinned memory, as on a CPU.
    """

    def __init__(self, rows: int, width: int, dtype: torch.dtype, device: torch.device, cuda: Any = None) -> None:
        self._cuda = torch.cuda if cuda is None and device.type == "cuda" else cuda
        self._device = device
        pinned = device.type == "cuda"
        self._here = [torch.empty(rows, width, dtype=dtype, pin_memory=pinned) for _ in range(2)]
        self._there = [torch.empty(rows, width, dtype=dtype, device=device) for _ in range(2)]
        if self._cuda is None:
            return
        self._stream = self._cuda.Stream(device=device)
        #: Of each pair of blocks: its rows have come; they are worked on no longer.
        self._come = [self._cuda.Event() for _ in range(2)]
        self._done = [self._cuda.Event() for _ in range(2)]
        for place in range(2):
            self._come[place].record(self._stream)
            # Work on what had this memory before may still be under way.
            self._finished(place)

    def blocks(self, source: Iterable[tuple[int, NDArray[Any]]]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the blocks on the device, each with its first row's number; one is good until the next is asked.

        One pass at a time: the next begins when the one before has ended or was closed.
        """
        before: tuple[int, int, torch.Tensor] | None = None
        try:
            for turn, (start, block) in enumerate(source):
                sent = self._send(turn % 2, block)
                if before is not None:
                    yield from self._lent(*before)
                before = turn % 2, start, sent
            if before is not None:
                yield from self._lent(*before)
        finally:
            if self._cuda is not None:
                for come in self._come:
                    self._current().wait_event(come)

    def _send(self, place: int, block: NDArray[Any]) -> torch.Tensor:
        """Copy a block to pinned memory, and have it copied on from there."""
        here, there = self._here[place][: len(block)], self._there[place][: len(block)]
        if self._cuda is None:
            return there.copy_(here.copy_(torch.from_numpy(block)))
        self._come[place].synchronize()
        here.copy_(torch.from_numpy(block))
        with self._cuda.stream(self._stream):
            self._stream.wait_event(self._done[place])
            there.copy_(here, non_blocking=True)
            self._come[place].record(self._stream)
        return there

    def _lent(self, place: int, start: int, there: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield one block that has come; when control is back, or never comes back, the work on it was launched."""
        if self._cuda is not None:
            self._current().wait_event(self._come[place])
        try:
            yield start, there
        finally:
            self._finished(place)

    def _finished(self, place: int) -> None:
        if self._cuda is not None:
            self._done[place].record(self._current())

    def _current(self) -> Any:
        return self._cuda.current_stream(self._device)
