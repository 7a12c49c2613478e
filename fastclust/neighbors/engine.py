"""What stands behind an index: it finds candidates; distances come after."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Engine"]


class Engine(ABC):
    """Finds neighbours among rows; with ``inner``, the largest inner products."""

    exact = False
    #: A graph of more rows is searched in parts, where those are to be kept; None: it has no parts.
    whole_up_to: int | None = 1 << 16

    def __init__(self, rows: NDArray[Any], *, inner: bool, k: int) -> None:
        self.rows = rows
        self.inner = inner
        self.k = k
        #: Queries so far that float32 scores could not settle; of use where all rows are compared.
        self.recomputed = 0

    @abstractmethod
    def search(self, queries: NDArray[Any], k: int) -> NDArray[np.int64]:
        """Row numbers ``[q, k]``, -1 where fewer were found."""

    def graph(self, k: int) -> NDArray[np.int64]:
        """Neighbours of the rows themselves, in which each row may appear as its own: ``[n, k]``."""
        return self.search(self.rows, k)
