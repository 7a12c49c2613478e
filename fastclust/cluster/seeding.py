"""Initial centres: k-means++, random rows, an array or a callable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from fastclust import progress
from fastclust.cluster.cells import choose_in_cells
from fastclust.cluster.chances import Chances
from fastclust.cluster.greedy import greedy_rows, is_dear, trials_of
from fastclust.cluster.rows import DenseRows
from fastclust.cluster.scalable import parallel_start
from fastclust.cluster.settling import Settling
from fastclust.cluster.streaming import StreamedRows
from fastclust.errors import InputError

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

    from fastclust.cluster.rows import Rows

__all__ = ["Sampled", "initial_centers"]

#: Iterations of a start in cells.
_SETTLED = 4
_METHODS = ("auto", "k-means++", "cells", "k-means||", "random")


@runtime_checkable
class Sampled(Protocol):
    """Rows that are far away: a start is made on some of them."""

    def sample(self, k: int, random: RandomState) -> NDArray[np.int64]:
        """Numbers of rows to start on."""

    def some(self, numbers: Any) -> Rows:
        """Some rows, in memory."""


def initial_centers(
    init: Any, rows: Rows, k: int, weights: NDArray[np.float64] | None, random: RandomState
) -> tuple[NDArray[Any], str]:
    """Return k starting centres ``[k, d]`` with the dtype of the rows, and how they were found. Raises InputError."""
    if isinstance(init, str):
        return _named(str(init), rows, k, weights, random)
    drawn = init(rows.matrix, k, random_state=random) if callable(init) else init
    if hasattr(drawn, "toarray"):
        drawn = drawn.toarray()
    centers = np.array(drawn, dtype=rows.dtype, order="C")
    if centers.ndim != 2 or len(centers) != k:
        message = f"The shape of the initial centers {centers.shape} does not match the number of clusters {k}."
        raise InputError("init", f"shape {centers.shape}", f"({k}, {rows.shape[1]})", message)
    if centers.shape[1] != rows.shape[1]:
        message = f"The shape of the initial centers {centers.shape} does not match the number of features of the data"
        raise InputError("init", f"shape {centers.shape}", f"({k}, {rows.shape[1]})", f"{message} {rows.shape[1]}.")
    if not np.isfinite(centers).all():
        raise InputError("init", "NaN or Inf", "finite numbers")
    return centers, "callable" if callable(init) else "array"


def _named(
    name: str, rows: Rows, k: int, weights: NDArray[np.float64] | None, random: RandomState
) -> tuple[NDArray[Any], str]:
    if isinstance(rows, Sampled) and name in ("auto", "k-means++"):
        numbers = rows.sample(k, random)
        own = None if weights is None else weights[numbers]
        start, name = _named(name, rows.some(numbers), k, own, random)
        return start, f"{name}, on a sample"
    if name == "auto":
        name = _chosen(rows, k)
    if name == "k-means++":
        if isinstance(rows, StreamedRows):
            raise InputError(
                "init",
                "k-means++, for rows that are streamed from files",
                "k-means||, random, an array or a callable",
                "Or give the rows more memory: open_rows(..., memory=).",
            )
        each = np.ones(rows.shape[0]) if weights is None else weights
        return _plus_plus(rows, k, each, random), name
    if name == "k-means||":
        return parallel_start(rows, k, weights, random), name
    if name == "cells":
        if not isinstance(rows, DenseRows):
            raise InputError(
                "init", "cells, for rows that are sparse, streamed or on a GPU", "k-means||, random, an array, auto"
            )
        return _in_cells(rows, k, weights, random), name
    if name == "random":
        chances = Chances(rows.shape[0], weights, None)
        if chances.possible < k:
            raise InputError("sample_weight", f"{chances.possible} rows of weight above 0", f"at least {k}")
        return rows.take(chances.draw(k, random)).copy(), name
    raise InputError("init", repr(name), f"{', '.join(_METHODS)}, an array or a callable")


def _chosen(rows: Rows, k: int) -> str:
    """Which start "auto" is: exact k-means++ as long as it is quick, then what comes near it."""
    if isinstance(rows, StreamedRows):
        return "k-means||"
    if not is_dear(rows.shape, k):
        return "k-means++"
    return "cells" if isinstance(rows, DenseRows) else "k-means||"


def _in_cells(rows: DenseRows, k: int, weights: NDArray[np.float64] | None, random: RandomState) -> NDArray[Any]:
    """Rows chosen cell by cell, and a few iterations in which those that came too near each other part."""
    cells = min(max(1, round(k**0.5)), k)
    with progress.as_part("seed", "seed", 0.0, 0.7):
        start = choose_in_cells(rows, k, weights, random, cells)
    with progress.as_part("seed", "kmeans", 0.7, 1.0):
        found = Settling(rows, start, weights, random, cells=cells, cosine=False)
        found.iterate(_SETTLED, 0.0)
    return found.centers


def _plus_plus(rows: Rows, k: int, weights: NDArray[np.float64], random: RandomState) -> NDArray[Any]:
    """Greedy k-means++.

    Each centre is the best of 2 + log k rows drawn with a chance proportional to weight times squared distance to the
    nearest centre so far.
    """
    trials = trials_of(k)
    if isinstance(rows, DenseRows):
        return rows.take(greedy_rows(rows.matrix, k, weights, random)).copy()
    chosen = np.empty(k, np.int64)
    chosen[0] = random.choice(len(weights), p=weights / weights.sum())
    nearest = rows.few(rows.take(chosen[:1]))[0]
    for place in range(1, k):
        heap = np.cumsum(weights * nearest)
        if heap[-1] > 0:
            candidates = np.searchsorted(heap, random.uniform(size=trials) * heap[-1])
            candidates = np.minimum(candidates, len(weights) - 1)
        else:
            # Fewer distinct rows than clusters: any row not taken yet.
            candidates = np.setdiff1d(np.arange(len(weights)), chosen[:place])[:1]
        reached = np.minimum(nearest, rows.few(rows.take(candidates)))
        best = int(np.argmin(reached @ weights))
        chosen[place], nearest = candidates[best], reached[best]
        progress.report("seed", place, k, "k-means++")
    return rows.take(chosen).copy()
