"""Where a map begins: principal components, a spectral embedding of the graph, random points, or given ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.neighbors import NeighborGraph

__all__ = ["start_of"]

_METHODS = ("auto", "pca", "spectral", "random")
#: Standard deviation of the first axis; small, so that early exaggeration can order the points.
_SPREAD = 1e-4


def start_of(
    initialization: Any, graph: NeighborGraph, P: Any, dimensions: int, seed: int | None
) -> tuple[NDArray[np.float64], str]:
    """Return ``[n, dimensions]`` and the name of the method used; ``P`` is the affinities' matrix.

    "auto" is "pca" where the graph has its rows, else "spectral". Raises InputError.
    """
    n = graph.n_rows
    if not isinstance(initialization, str):
        given = np.array(initialization, np.float64)
        if given.shape != (n, dimensions):
            raise InputError("initialization", f"shape {given.shape}", f"({n}, {dimensions})")
        if not np.isfinite(given).all():
            raise InputError("initialization", "NaN or Inf", "finite numbers")
        return given, "array"
    if initialization not in _METHODS:
        raise InputError("initialization", repr(initialization), f"{', '.join(_METHODS)}, or an array")
    name = initialization
    if name == "auto":
        name = "pca" if graph.source is not None else "spectral"
    random = np.random.default_rng(seed)
    if name == "random":
        return random.normal(scale=_SPREAD, size=(n, dimensions)), name
    if name == "pca":
        if graph.source is None:
            raise InputError("initialization", "'pca', and a graph without its rows", "spectral, random, or an array")
        found = _principal(graph.source, dimensions)
    else:
        from openTSNE.initialization import spectral

        found = np.asarray(spectral(P, n_components=dimensions, random_state=seed or 0), np.float64)
    deviation = found[:, 0].std()
    # A speck of noise keeps exact duplicates from moving as one for ever.
    found = found * (_SPREAD / deviation) if deviation > 0 else np.zeros_like(found)
    return found + random.normal(scale=_SPREAD / 100, size=found.shape), name


def _principal(rows: NDArray[Any], dimensions: int) -> NDArray[np.float64]:
    """Scores on the first principal components, by the covariance's eigenvectors; zeros where d is too small."""
    moved = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    _, vectors = np.linalg.eigh(moved.T @ moved)
    axes = vectors[:, ::-1][:, :dimensions]
    # The sign of an eigenvector is not determined: the largest entry is made positive.
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    scores = np.zeros((len(rows), dimensions))
    scores[:, : axes.shape[1]] = moved @ axes
    return scores
