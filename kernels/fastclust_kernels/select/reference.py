"""Selection by sorting: the oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["largest"]


def largest(
    products: NDArray[np.float32], halves: NDArray[np.float32], keep: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The ``keep`` largest ``products - halves`` of each line, falling, and their columns, -1 for NaN."""
    with np.errstate(invalid="ignore"):
        scores = products - halves
    scores = np.where(np.isnan(scores), np.float32(-np.inf), scores)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :keep]
    found = np.take_along_axis(scores, order, 1)
    return found, np.where(found > -np.inf, order, -1)
