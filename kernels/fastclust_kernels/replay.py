"""Steps of fixed shapes that a GPU does again and again: one CUDA graph a step, and figures that come back late.

A launch of a kernel takes microseconds of the host; a k-means iteration has forty. Recorded once as a graph, all of
them are one launch. What a step decides stays on the device; the host hears of it some steps later and waits for none.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Late", "Replay"]


class Replay:
    """Call ``step`` again and again; on a GPU it is recorded at the second call, and replayed.

    Parameters
    ----------
    step
        Launches work of fixed shapes on tensors that stay where they are, and waits for nothing but in its first call.
    device
        Where it does.
    record
        Makes a graph of a step; None for CUDA's on a GPU, and plain calls elsewhere.
    """

    def __init__(
        self, step: Callable[[], None], device: torch.device, record: Callable[[Callable[[], None]], Any] | None = None
    ) -> None:
        self._step = step
        self._record = record or (_recorded if device.type == "cuda" else None)
        self._graph: Any = None
        self._warm = False

    def __call__(self) -> None:
        """Do the next step."""
        if self._record is None or not self._warm:
            # The first one compiles kernels and fills caches, which a graph must not hold.
            self._step()
            self._warm = True
            return
        if self._graph is None:
            self._graph = self._record(self._step)
        self._graph.replay()


def _recorded(step: Callable[[], None]) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


class Late:
    """Small tensors that a device changes, as they were some steps ago: reading them keeps it busy.

    Parameters
    ----------
    figures
        ``[m]``, what is to be read after each step.
    ahead
        How many steps are launched before the first of them is waited for.
    """

    def __init__(self, figures: torch.Tensor, ahead: int) -> None:
        self._figures, self._ahead = figures, ahead
        self._on_its_way: deque[tuple[torch.Tensor, Any]] = deque()

    def read(self) -> list[int] | None:
        """Send for the figures as they are after what was launched; return the oldest, if enough were sent for."""
        here = self._figures.is_cuda
        copy = torch.empty(self._figures.shape, dtype=self._figures.dtype, pin_memory=here)
        copy.copy_(self._figures, non_blocking=True)
        event = torch.cuda.Event() if here else None  # type: ignore[no-untyped-call]
        if event is not None:
            event.record()
        self._on_its_way.append((copy, event))
        return self._oldest() if len(self._on_its_way) > self._ahead else None

    def drop(self) -> None:
        """Forget what is on its way: the host has changed the figures."""
        self._on_its_way.clear()

    def _oldest(self) -> list[int]:
        copy, event = self._on_its_way.popleft()
        if event is not None:
            event.synchronize()
        found: list[int] = copy.tolist()
        return found
