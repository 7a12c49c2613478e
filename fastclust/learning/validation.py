"""What an epoch is judged by: rows that were held out of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fastclust.errors import InputError
from fastclust.learning.devices import where
from fastclust.learning.networks import through

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.learning.inputs import Inputs
    from fastclust.learning.networks import Student

__all__ = ["Validation", "held_out", "split"]

#: Held-out rows that are looked at, at most.
_MOST = 2000


def held_out(count: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which of ``count`` rows are held out, bool ``[count]``. Raises InputError where too few would be left."""
    chosen = np.zeros(count, bool)
    if share > 0:
        many = max(2, round(share * count))
        if count - many < 2:
            raise InputError("validation", share, f"0, or a share that leaves 2 of {count} rows to each side")
        chosen[np.random.default_rng([seed, count]).choice(count, many, replace=False)] = True
    return chosen


def split(inputs: Inputs, share: float, seed: int) -> tuple[Inputs, Inputs | None]:
    """Return the rows to train on and those held out, None for a share of 0."""
    if share == 0:
        return inputs, None
    chosen = held_out(len(inputs.rows), share, seed)
    parts = [
        inputs._replace(rows=inputs.rows[mask], views=None if inputs.views is None else inputs.views[mask])
        for mask in (~chosen, chosen)
    ]
    return parts[0], parts[1]


class Validation:
    """Held-out rows, and how well a student knows them: a share in [0, 1], the higher the better.

    With labels: the rows, of those whose label is known, whose nearest other one has the same (recall@1). Without: the
    views whose nearest row is the one that they are a view of.

    Parameters
    ----------
    rows, views
        What the student is given of each row and of one view of it, ``[n, p]``.
    labels
        int64 ``[n]``, -1 where unknown, or None.

    Raises
    ------
    InputError
        Labels with fewer than 2 known rows of one class.
    """

    def __init__(self, rows: Tensor, views: Tensor, labels: NDArray[np.int64] | None = None) -> None:
        if labels is not None:
            known = np.flatnonzero(labels >= 0)[:_MOST]
            if not len(known) or np.bincount(labels[known]).max() < 2:
                raise InputError("validation", f"{len(known)} held-out rows with labels", "2 of one class, or more")
            self._labels: Tensor | None = torch.from_numpy(labels[known])
            self._rows, self._views = rows[torch.from_numpy(known)], None
        else:
            self._labels, self._rows, self._views = None, rows[:_MOST], views[:_MOST]

    def score(self, student: Student) -> float:
        """Return the share for a student in evaluation."""
        there = where(student)

        def embedded(given: Tensor) -> Tensor:
            return nn.functional.normalize(through(lambda part: student(part)[0], given, device=there), dim=1)

        student.eval()
        rows = embedded(self._rows)
        if self._views is None:
            assert self._labels is not None
            nearest = (rows @ rows.T).fill_diagonal_(-2).argmax(1)
            return float((self._labels[nearest] == self._labels).double().mean())
        cosines = embedded(self._views) @ rows.T
        return float((cosines.diagonal() >= cosines.amax(1)).double().mean())
