"""Which rows make a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["NeighborhoodSampler"]


class NeighborhoodSampler:
    """Queries without replacement, each with its nearest rows.

    Parameters
    ----------
    n_queries
        Queries in a batch.
    n_nearest
        Rows that a query brings, itself included.
    seed
        With the epoch's number it fixes the order.
    """

    def __init__(self, n_queries: int, n_nearest: int, seed: int) -> None:
        self.n_queries = n_queries
        self.n_nearest = n_nearest
        self.seed = seed
        self.epoch = 0
        self._neighbors: NDArray[np.int64] = np.empty((0, 0), np.int64)

    def set_epoch(self, epoch: int, neighbors: NDArray[np.int64]) -> None:
        """Take this epoch's graph, ``[n, k >= n_nearest - 1]``."""
        self.epoch = epoch
        self._neighbors = neighbors[:, : self.n_nearest - 1]

    def __len__(self) -> int:
        return max(1, len(self._neighbors) // self.n_queries)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of each batch; the few queries that fill no batch are left for another epoch."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self._neighbors))
        for batch in range(len(self)):
            queries = order[batch * self.n_queries : (batch + 1) * self.n_queries]
            yield np.concatenate([queries[:, None], self._neighbors[queries]], axis=1).ravel()

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` takes."""
        return {"epoch": self.epoch, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; the epoch's graph comes with the next :meth:`set_epoch`."""
        self.epoch, self.seed = int(state["epoch"]), int(state["seed"])
