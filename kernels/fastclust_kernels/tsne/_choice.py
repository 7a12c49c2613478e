"""All pairs or a grid, whichever is quicker for the points as they lie: a function of the points and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastclust_kernels.errors import InputError
from fastclust_kernels.tsne._grid import Shape, shape_of
from fastclust_kernels.tsne._mesh import limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["METHODS", "method_of"]

METHODS = ("auto", "fft", "exact")
_PLANE = 2
#: Nanoseconds on one core, measured (README.md, Cost): a pair; a node of the padded grid; a point; a call.
_PAIR, _NODE, _POINT, _CALL = 0.5, 9.0, 100.0, 4e5
#: Nodes of the largest grid, about 2.5 GB.
_MOST_NODES = 2**26


def method_of(Y: NDArray[np.float32], method: str) -> tuple[str, Shape | None]:
    """``("exact", None)`` or ``("fft", shape)`` for points ``[n, 2]`` or ``[n, 3]``; grids are for 2 dimensions.

    Raises
    ------
    InputError
        A method that does not exist or cannot do this; points that are not finite.
    """
    if method not in METHODS:
        raise InputError("method", repr(method), ", ".join(METHODS))
    low, high = limits(Y) if Y.shape[1] == _PLANE else (Y.min(axis=0), Y.max(axis=0))
    extent = high.astype(np.float64) - low
    if not np.isfinite(extent).all():
        raise InputError("Y", "NaN, Inf, or numbers beyond float32", "finite points")
    if Y.shape[1] != _PLANE:
        if method == "fft":
            raise InputError("method", "'fft', for 3 dimensions", "auto or exact; the grid is for 1 and 2 dimensions")
        return "exact", None
    if method == "exact":
        return "exact", None
    shape = shape_of(extent, low)
    n = len(Y)
    if method == "fft":
        if shape.size > _MOST_NODES:
            raise InputError("Y", f"extent {extent.max():.4g}", f"a grid of at most {_MOST_NODES} nodes", "Use auto.")
        return "fft", shape
    if shape.size > _MOST_NODES or _PAIR * n * n < _NODE * shape.size + _POINT * n + _CALL:
        return "exact", None
    return "fft", shape
