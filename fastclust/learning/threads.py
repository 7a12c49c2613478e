"""One thread for small work: faster than two that wait for each other, and the same bits on every machine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch and BLAS to one thread inside the block.

    A step works on matrices of a few hundred rows. Split over threads it takes no less time on a quiet machine and
    many times more on a busy one, and sums over a different number of parts differ in their last bits.
    """
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)
