"""What mining hands to a trainer: for each anchor, rows to pull near and rows to push away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ManifoldPools", "Ragged"]


@dataclass(frozen=True, slots=True)
class Ragged:
    """Lists of different lengths in two arrays: list ``i`` is ``values[indptr[i]:indptr[i + 1]]``."""

    #: int64 [lists + 1], from 0 up.
    indptr: NDArray[np.int64]
    #: All lists, one after another.
    values: NDArray[Any]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, item: int) -> NDArray[Any]:
        if not 0 <= item < len(self):
            raise IndexError(item)
        part: NDArray[Any] = self.values[self.indptr[item] : self.indptr[item + 1]]
        return part

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each list, ``[lists]``."""
        return np.diff(self.indptr)

    @classmethod
    def of(cls, lists: list[NDArray[Any]], dtype: Any) -> Ragged:
        """Make one of a list of arrays."""
        indptr = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(item) for item in lists], out=indptr[1:])
        values = np.concatenate(lists).astype(dtype, copy=False) if lists else np.empty(0, dtype)
        return cls(indptr, values)


@dataclass(frozen=True, slots=True)
class ManifoldPools:
    """Hard positives and hard negatives of each anchor; no pool is empty."""

    #: int64 [a]: rows that kept both their pools.
    anchors: NDArray[np.int64]
    #: Rows near on the manifold and not among the nearest directly, best first.
    positives: Ragged
    #: Rows among the nearest directly and not near on the manifold, nearest first.
    negatives: Ragged
    #: Confidence of each positive in (0, 1]: its manifold similarity over the anchor's largest; like ``positives``.
    weights: Ragged
    #: Anchors left out because a pool was empty.
    n_dropped: int
    #: Rows that were searched.
    n_rows: int

    def purity(self, labels: NDArray[Any]) -> dict[str, float]:
        """Compare the pools with labels, which mining never sees.

        Parameters
        ----------
        labels
            ``[n_rows]`` integers; -1 where unknown, and such rows are not counted.

        Returns
        -------
        dict
            "positives": share of positives with their anchor's label; "negatives": share of negatives with another
            one; NaN where nothing could be counted.

        Raises
        ------
        InputError
            Labels of another number of rows.
        """
        labels = np.asarray(labels)
        if labels.shape != (self.n_rows,):
            raise InputError("labels", f"shape {labels.shape}", f"({self.n_rows},), one for each row that was mined")
        found = {}
        for name, pool, wanted in (("positives", self.positives, True), ("negatives", self.negatives, False)):
            own = np.repeat(labels[self.anchors], pool.lengths)
            other = labels[pool.values]
            known = (own >= 0) & (other >= 0)
            found[name] = float(np.mean((own == other)[known] == wanted)) if known.any() else float("nan")
        return found
