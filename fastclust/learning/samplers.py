"""Which rows make a batch. Batches are asked for by number, so that training can go on anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fastclust.mining import ManifoldPools

__all__ = ["NeighborhoodSampler", "TripletSampler", "nearest_negatives"]

#: Of the hard negatives, the nearest that one is drawn from (Iscen et al., 2018).
_NEAREST = 10
#: Anchors whose negatives are compared at once.
_ANCHORS = 256


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
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    def set_epoch(self, epoch: int, neighbors: NDArray[np.int64]) -> None:
        """Take this epoch's graph, ``[n, k >= n_nearest - 1]``."""
        self.epoch = epoch
        self._neighbors = neighbors[:, : self.n_nearest - 1]
        self._order = np.random.default_rng([self.seed, epoch]).permutation(len(neighbors))

    def __len__(self) -> int:
        return max(1, len(self._neighbors) // self.n_queries)

    def batch(self, number: int) -> NDArray[np.int64]:
        """Return the rows of one batch; the few queries that fill no batch are left for another epoch."""
        queries = self._order[number * self.n_queries : (number + 1) * self.n_queries]
        return np.concatenate([queries[:, None], self._neighbors[queries]], axis=1).ravel()

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        """Yield the batches of the epoch."""
        return (self.batch(number) for number in range(len(self)))

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` takes."""
        return {"epoch": self.epoch, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; the epoch's graph comes with the next :meth:`set_epoch`."""
        self.epoch, self.seed = int(state["epoch"]), int(state["seed"])


def nearest_negatives(
    pools: ManifoldPools, described: Callable[[NDArray[np.int64]], NDArray[np.float32]] | None = None
) -> NDArray[np.int64]:
    """Return the hard negatives nearest to each anchor: int64 ``[anchors, 10]``, nearest first, then -1.

    ``described`` gives the embedding of rows ``[r]``, float32 ``[r, d]`` of length 1. It is asked once, for the rows of
    the pools only; without it they are compared by what they were mined by.
    """
    lengths = pools.negatives.lengths
    wide = int(lengths.max(initial=0))
    there = np.arange(wide) < lengths[:, None]
    padded = np.full((len(lengths), wide), -1, np.int64)
    padded[there] = pools.negatives.values
    if described is not None:
        rows = np.unique(np.concatenate([pools.anchors, pools.negatives.values]))
        embedding = described(rows)
        own, other = np.searchsorted(rows, pools.anchors), np.searchsorted(rows, padded)
        for first in range(0, len(padded), _ANCHORS):
            part = slice(first, first + _ANCHORS)
            cosines = (embedding[other[part]] @ embedding[own[part], :, None])[..., 0]
            order = np.argsort(np.where(there[part], -cosines, np.inf), axis=1, kind="stable")
            padded[part] = np.take_along_axis(padded[part], order, axis=1)
    found = np.full((len(padded), _NEAREST), -1, np.int64)
    found[:, : min(wide, _NEAREST)] = padded[:, :_NEAREST]
    return found


class TripletSampler:
    """Anchors of the mined pools, each with a hard positive and a hard negative.

    The positive is any of its pool, the negative one of the 10 nearest to the anchor by the epoch's embedding; both
    are drawn anew whenever the anchor comes.

    Parameters
    ----------
    n_anchors
        Anchors in a batch.
    seed
        With the epoch's and the batch's number it fixes what is drawn.
    """

    def __init__(self, n_anchors: int, seed: int) -> None:
        self.n_anchors = n_anchors
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int, pools: ManifoldPools, hardest: NDArray[np.int64]) -> None:
        """Take the pools and this epoch's :func:`nearest_negatives`."""
        self.epoch, self._pools, self._hardest = epoch, pools, hardest

    def batch(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return rows ``[3, a]`` (anchors, positives, negatives) and the weight of each triplet ``[a]``."""
        rng = np.random.default_rng([self.seed, self.epoch, number])
        places = rng.integers(len(self._pools.anchors), size=self.n_anchors)
        rows = np.empty((3, self.n_anchors), np.int64)
        weights = np.empty(self.n_anchors, np.float32)
        for column, place in enumerate(places):
            choice = rng.integers(len(self._pools.positives[place]))
            rows[0, column] = self._pools.anchors[place]
            rows[1, column] = self._pools.positives[place][choice]
            hardest = self._hardest[place]
            rows[2, column] = rng.choice(hardest[hardest >= 0])
            weights[column] = self._pools.weights[place][choice]
        return rows, weights

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` takes."""
        return {"epoch": self.epoch, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; pools and negatives come with the next :meth:`set_epoch`."""
        self.epoch, self.seed = int(state["epoch"]), int(state["seed"])
