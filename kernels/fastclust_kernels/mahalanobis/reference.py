"""The oracle of all-pairs distances: differences first, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pairs"]


def pairs(X: NDArray[Any], Y: NDArray[Any], factor: NDArray[Any], out: NDArray[Any], *, squared: bool) -> None:
    """Write ``|W^T (x - y)|``, or its square, into ``out`` ``[n, m]``."""
    for i, x in enumerate(X.astype(np.float64)):
        total = (((x - Y.astype(np.float64)) @ factor) ** 2).sum(axis=1)
        out[i] = total if squared else np.sqrt(total)
