"""Labels for centres that stay: they are prepared once, and each call is only the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.arrays import writable
from fastclust_kernels.dispatch import launch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.assign._dense import Placed

__all__ = ["FixedCenters"]


class FixedCenters:
    """Nearest of the same centres, for one set of rows after the other: labels of :func:`fastclust_kernels.assign`.

    Parameters
    ----------
    centers
        float32 or float64 ``[k, d]``, finite; not changed as long as this lives.
    """

    def __init__(self, centers: NDArray[Any]) -> None:
        self.centers = centers
        self._placed: dict[np.dtype[Any], Placed] = {}

    def labels(self, X: NDArray[Any]) -> NDArray[np.int32]:
        """Labels int32 ``[n]`` of rows ``[n, d]`` that are C-contiguous, float32 or float64 and finite."""
        from fastclust_kernels.assign import _dense

        placed = self._placed.get(X.dtype)
        if placed is None:
            with np.errstate(over="ignore", invalid="ignore"):
                centers = writable(self.centers.astype(X.dtype, copy=False))
                placed = self._placed[X.dtype] = _dense.place(centers, _dense.frame_of(centers))
        # The sentinel makes a row that a kernel missed fail in every consumer.
        found = np.full(len(X), -1, np.int32)
        with launch():
            _dense.assign_dense(writable(X), placed, found)
        return found
