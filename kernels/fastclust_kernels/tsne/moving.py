"""Forces on the same points again and again as they move: what an optimiser of t-SNE asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.dispatch import parallel_launch
from fastclust_kernels.errors import InputError
from fastclust_kernels.tsne._choice import method_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust_kernels.tsne._grid import GridRepulsion
    from fastclust_kernels.tsne._pull import Affinities
    from fastclust_kernels.tsne._slices import Slices

__all__ = ["MovingForces"]

_SPACE = 3


class MovingForces:
    """Attraction, repulsion and divergence of points ``[n, dimensions]`` under one matrix of affinities.

    Parameters
    ----------
    P
        Symmetric SciPy CSR matrix ``[n, n]``; kept as float32.
    method
        How repulsion is computed: "fft", "barnes_hut", "exact", or "auto" for the quickest for the map as it is.
    """

    def __init__(self, P: Any, *, method: str = "auto") -> None:
        from fastclust_kernels.tsne._pull import Affinities, entropy

        self._given: Affinities = Affinities.of(P)
        self._order = np.arange(self._given.n_rows, dtype=np.int32)
        # The same in that order: for points in space, and for those in the plane.
        self._P: Affinities | None = self._given
        self._slices: Slices | None = None
        with parallel_launch():
            self._entropy = entropy(self._given)
        self._method = method
        self._grid: GridRepulsion | None = None
        #: What the last repulsion was computed by.
        self.method = ""

    def reorder(self, order: NDArray[np.int32]) -> None:
        """From now on, point i is point ``order[i]`` of the matrix given: neighbours come near each other in memory."""
        self._order = order
        self._P = self._slices = None

    def attraction(self, Y: NDArray[np.float32]) -> NDArray[np.float32]:
        """``sum_j p_ij w_ij (y_i - y_j)``, float32 ``[n, dimensions]``."""
        from fastclust_kernels.tsne._pull import pull
        from fastclust_kernels.tsne._slices import pull_together

        with parallel_launch():
            if Y.shape[1] == _SPACE:
                return pull(self._rows(), Y)
            return pull_together(self._sliced(), _two(Y))[:, : Y.shape[1]]

    def _sliced(self) -> Slices:
        from fastclust_kernels.tsne._slices import sliced

        if self._slices is None:
            self._slices = sliced(self._given, self._order)
        return self._slices

    def _rows(self) -> Affinities:
        from fastclust_kernels.tsne._pull import reordered

        if self._P is None:
            self._P = reordered(self._given, self._order)
        return self._P

    def repulsion(self, Y: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """``sum_j w_ij^2 (y_i - y_j)``, float32 ``[n, dimensions]``, and Z."""
        from fastclust_kernels.tsne._barnes_hut import tree_repulsion
        from fastclust_kernels.tsne._exact import all_pairs
        from fastclust_kernels.tsne._grid import GridRepulsion

        with parallel_launch(), np.errstate(invalid="ignore", over="ignore"):
            points = _two(Y)
            self.method, shape = method_of(points, self._method)
            if self.method == "barnes_hut":
                return tree_repulsion(Y)
            if shape is None:
                return all_pairs(Y)
            self._grid = self._grid or GridRepulsion()
            forces, total = self._grid(points, shape)
            return forces[:, : Y.shape[1]], total

    def divergence(self, Y: NDArray[np.float32], normalization: float | None = None) -> float:
        """KL(P || Q), without exaggeration; ``normalization`` is Z where the caller knows it."""
        from fastclust_kernels.tsne._pull import spread_cost
        from fastclust_kernels.tsne._slices import spread_cost_together

        total = self.repulsion(Y)[1] if normalization is None else normalization
        if not total > 0:
            raise InputError("Y", f"Z = {total}", "points that are not infinitely far apart")
        with parallel_launch():
            three = Y.shape[1] == _SPACE
            cost = spread_cost(self._rows(), Y) if three else spread_cost_together(self._sliced(), _two(Y))
        mass, entropy = self._entropy
        return entropy + cost + mass * float(np.log(total))


def _two(Y: NDArray[np.float32]) -> NDArray[np.float32]:
    """A line is a plane whose points have 0 for their second coordinate."""
    if Y.shape[1] != 1:
        return np.ascontiguousarray(Y)
    plane = np.zeros((len(Y), 2), np.float32)
    plane[:, :1] = Y
    return plane
