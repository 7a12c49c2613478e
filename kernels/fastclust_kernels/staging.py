"""Blocks of rows of the host on a GPU, the next one on its way while one is worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

__all__ = ["Staging"]


class Staging:
    """Two blocks of pinned host memory and two of the device, used in turns.

    Pinned memory is what a GPU copies from by itself, on a stream of its own. A pinned block is written to again once
    its copy is done, a block of the device once the work on it is.

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
        pinned = device.type == "cuda"
        self._here = [torch.empty(rows, width, dtype=dtype, pin_memory=pinned) for _ in range(2)]
        self._there = [torch.empty(rows, width, dtype=dtype, device=device) for _ in range(2)]
        self._stream: Any = None if self._cuda is None else self._cuda.Stream(device=device)
        #: Of each pair of blocks: its rows have come; they are worked on no longer.
        self._come: list[Any] = [None if self._cuda is None else self._cuda.Event() for _ in range(2)]
        self._done: list[Any] = [None if self._cuda is None else self._cuda.Event() for _ in range(2)]

    def blocks(self, source: Iterable[tuple[int, NDArray[Any]]]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the blocks on the device, each with its first row's number; one is good until the next is asked."""
        before: tuple[int, int, torch.Tensor] | None = None
        for turn, (start, block) in enumerate(source):
            place = turn % 2
            sent = self._send(place, block, again=turn >= 2)
            if before is not None:
                yield self._taken(*before)
                self._finished(before[0])
            before = place, start, sent
        if before is not None:
            yield self._taken(*before)
            self._finished(before[0])

    def _send(self, place: int, block: NDArray[Any], *, again: bool) -> torch.Tensor:
        """Copy a block to pinned memory, and have it copied on from there."""
        if again and self._cuda is not None:
            self._come[place].synchronize()
        here, there = self._here[place][: len(block)], self._there[place][: len(block)]
        here.copy_(torch.from_numpy(block))
        if self._cuda is None:
            return there.copy_(here)
        with self._cuda.stream(self._stream):
            if again:
                self._stream.wait_event(self._done[place])
            there.copy_(here, non_blocking=True)
            self._come[place].record(self._stream)
        return there

    def _taken(self, place: int, start: int, there: torch.Tensor) -> tuple[int, torch.Tensor]:
        if self._cuda is not None:
            self._cuda.current_stream().wait_event(self._come[place])
        return start, there

    def _finished(self, place: int) -> None:
        if self._cuda is not None:
            self._done[place].record(self._cuda.current_stream())
