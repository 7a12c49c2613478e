"""All pairs, a grid or a tree, whichever is quicker for the points as they lie: a function of the points alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastclust_kernels.errors import InputError
from fastclust_kernels.tsne._grid import Shape, shape_of
from fastclust_kernels.tsne._mesh import limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["METHODS", "choose_method", "method_of"]

METHODS = ("auto", "fft", "barnes_hut", "exact")
_PLANE, _SPACE = 2, 3
#: Nanoseconds on one core, measured (README.md, Cost): a pair; a node of the padded grid; a point; a call.
_PAIR, _NODE, _POINT, _CALL = 0.5, 9.0, 100.0, 4e5
#: Points in space from which on a tree is quicker than all pairs.
_TREE = 10_000
#: Nodes of the largest grid, about 2.5 GB.
_MOST_NODES = 2**26


def method_of(Y: NDArray[np.float32], method: str) -> tuple[str, Shape | None]:
    """Return "exact", "barnes_hut" or "fft", and the grid for the last, for points ``[n, 2]`` or ``[n, 3]``.

    Grids are for 2 dimensions, the tree is for 3.

    Raises
    ------
    InputError
        A method that does not exist or cannot do this; points that are not finite.
    """
    low, high = limits(Y) if Y.shape[1] == _PLANE else (Y.min(axis=0), Y.max(axis=0))
    return choose_method(len(Y), low, high, method)


def choose_method(n: int, low: NDArray[np.float32], high: NDArray[np.float32], method: str) -> tuple[str, Shape | None]:
    """Do what :func:`method_of` does, for ``n`` points between ``low`` and ``high`` ``[dimensions]``."""
    if method not in METHODS:
        raise InputError("method", repr(method), ", ".join(METHODS))
    dimensions = len(low)
    extent = high.astype(np.float64) - low
    if not np.isfinite(extent).all():
        raise InputError("Y", "NaN, Inf, or numbers beyond float32", "finite points")
    if method == ("fft" if dimensions == _SPACE else "barnes_hut"):
        allowed = "auto or exact; the grid is for 1 and 2 dimensions, the tree for 3"
        raise InputError("method", f"{method!r}, for {dimensions} dimensions", allowed)
    if dimensions == _SPACE and method == "auto":
        return "barnes_hut" if n >= _TREE else "exact", None
    if method in ("exact", "barnes_hut"):
        return method, None
    shape = shape_of(extent, low)
    if method == "fft":
        if shape.size > _MOST_NODES:
            raise InputError("Y", f"extent {extent.max():.4g}", f"a grid of at most {_MOST_NODES} nodes", "Use auto.")
        return "fft", shape
    if shape.size > _MOST_NODES or _PAIR * n * n < _NODE * shape.size + _POINT * n + _CALL:
        return "exact", None
    return "fft", shape
