"""Repulsion in two dimensions through a grid: the charges' FFT, times the kernels', and back; README.md, Grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from fastclust_kernels.tsne._mesh import gather, spread
from fastclust_kernels.tsne._waves import Convolution, Kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SPACING", "GridRepulsion", "Shape", "shape_of", "sharpening"]

#: Distance of nodes in units of the map, where the kernel's width is 1; README.md, Error.
SPACING = 0.375
#: A map is at least this many nodes wide: a small one gets a finer grid.
_LEAST = 16
#: Halvings of the spacing after which the kernel is flat over the whole grid.
_FINEST = 40
#: Nodes between the largest distance in the map and where the periodic kernel turns round.
_MARGIN = 12
#: FFT lengths are these times powers of two: few, so that kernels are computed rarely, and fast ones.
_LENGTHS = (64, 72, 80, 90, 96, 108, 120)


class Shape(NamedTuple):
    """A grid: its origin and what it is made of."""

    low: tuple[np.float32, np.float32]
    spacing: float
    #: Nodes that hold charges, and FFT lengths, in each direction.
    nodes: tuple[int, int]
    lengths: tuple[int, int]

    @property
    def size(self) -> int:
        """Points of the whole padded grid."""
        return self.lengths[0] * self.lengths[1]


def shape_of(extent: NDArray[np.floating[Any]], low: NDArray[np.floating[Any]], spacing: float = SPACING) -> Shape:
    """Return the grid for a map from ``low`` on, of this extent; spacing is halved until the map is 16 nodes wide.

    A line gets nodes twice as close: they cost little, and forces from both sides cancel there.
    """
    if float(extent.min()) == 0:
        spacing /= 2
    widest = float(extent.max())
    # Points that all coincide get the finest grid that is of any use.
    halvings = int(np.ceil(np.log2(_LEAST * spacing / widest))) if widest > 0 else _FINEST
    spacing *= 0.5 ** min(max(0, halvings), _FINEST)
    nodes = tuple(int(float(side) / spacing * (1 + 1e-6)) + 5 for side in extent)
    return Shape((low[0], low[1]), spacing, nodes, tuple(_length(2 * count + _MARGIN) for count in nodes))  # type: ignore[arg-type]


def _length(least: int) -> int:
    factor = 1
    while True:
        for length in _LENGTHS:
            if length * factor >= least:
                return length * factor
        factor *= 2


class GridRepulsion:
    """Computes repulsion again and again; keeps the kernels' transforms and the buffers while the grid is the same."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._kernels: tuple[Convolution, NDArray[np.float64]] | None = None

    def __call__(self, Y: NDArray[np.float32], shape: Shape) -> tuple[NDArray[np.float32], float]:
        """Unnormalised repulsion ``[n, 2]`` and Z."""
        kernels, own = self._kernels_of(shape)
        charges = kernels.empty(*shape.nodes)
        itself = spread(Y, shape.low, shape.spacing, own, charges)
        across, along, energy = kernels(charges)
        forces = np.empty_like(Y)
        gather(Y, shape.low, shape.spacing, (across, along), forces)
        return forces, energy - itself

    def _kernels_of(self, shape: Shape) -> tuple[Convolution, NDArray[np.float64]]:
        key = (shape.spacing, shape.lengths)
        if self._kernels is None or key != self._key:
            kernels, own = _make_kernels(shape)
            self._kernels, self._key = (Convolution(kernels), own), key
        return self._kernels


def sharpening(length: int) -> NDArray[np.float64]:
    """For each frequency, what makes up for spreading and gathering with a window, with the least mean square error.

    Hockney and Eastwood's influence function for a kernel without power beyond the grid's frequencies: the squared
    window over the square of its sum over aliases.
    """
    k = 2 * np.pi * np.arange(length // 2 + 1) / length
    aliases = (2416 + 2382 * np.cos(k) + 240 * np.cos(2 * k) + 2 * np.cos(3 * k)) / 5040
    factors: NDArray[np.float64] = np.sinc(k / (2 * np.pi)) ** 8 / aliases**2
    return factors


def _make_kernels(shape: Shape) -> tuple[Kernels, NDArray[np.float64]]:
    """Transforms of K, x K^2 and y K^2 as the window wants them, and K on the grid at lags 0 to 3 ``[4, 4]``.

    K = 1 / (1 + r^2) is even and x K^2 odd in x: cosine and sine transforms of a quarter give all there is.
    """
    from scipy import fft

    workers = numba.get_num_threads()
    u, v = (np.arange(length // 2 + 1) * shape.spacing for length in shape.lengths)
    kernel = 1 / (1 + u[:, None] ** 2 + v**2)
    sharp = tuple(sharpening(length) for length in shape.lengths)
    sharper = sharp[0][:, None] * sharp[1]
    potential = fft.dctn(kernel, type=1, workers=workers) * sharper
    squared = kernel**2
    across, along = np.zeros_like(kernel), np.zeros_like(kernel)
    # An odd function vanishes at both ends, and its transform is -i times the sine transform.
    odd = (u[:, None] * squared)[1:-1]
    across[1:-1] = fft.dst(fft.dct(odd, type=1, axis=1, workers=workers), type=1, axis=0, workers=workers)
    odd = (v * squared)[:, 1:-1]
    along[:, 1:-1] = fft.dst(fft.dct(odd, type=1, axis=0, workers=workers), type=1, axis=1, workers=workers)
    lags = tuple(_inverse(length) for length in shape.lengths)
    return (
        Kernels.of(shape.lengths, potential, -across * sharper, -along * sharper),
        lags[0] @ potential @ lags[1].T,
    )


def _inverse(length: int) -> NDArray[np.float64]:
    """Cosines ``[4, length/2+1]`` that take an even transform back to lags 0 to 3."""
    k = np.arange(length // 2 + 1)
    cosines = np.cos(2 * np.pi * np.arange(4)[:, None] * k / length) * 2 / length
    cosines[:, [0, -1]] /= 2
    return cosines
