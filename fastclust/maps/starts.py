"""Where a map begins: principal components, a spectral embedding of the graph, random points, or given ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.data.source import ArrayRows
from fastclust.errors import InputError
from fastclust.maps.components import principal_components

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
        found = _principal(graph.source, dimensions, seed)
    else:
        found = _spectral(P, dimensions, seed)
    deviation = found[:, 0].std()
    # A speck of noise keeps exact duplicates from moving as one for ever.
    found = found * (_SPREAD / deviation) if deviation > 0 else np.zeros_like(found)
    return found + random.normal(scale=_SPREAD / 100, size=found.shape), name


def _principal(rows: NDArray[Any], dimensions: int, seed: int | None) -> NDArray[np.float64]:
    """Scores on the first principal components; zeros where there are too few columns."""
    source = ArrayRows(rows)
    scores = np.zeros((len(rows), dimensions))
    found = principal_components(source, dimensions, seed).project(source)
    scores[:, : found.shape[1]] = found
    return scores


def _spectral(P: Any, dimensions: int, seed: int | None) -> NDArray[np.float64]:
    """Eigenvectors of the normalised affinities, the trivial first one left out; zeros where there are too few."""
    n = P.shape[0]
    if n > dimensions + 1:
        from openTSNE.initialization import spectral

        return np.asarray(spectral(P, n_components=dimensions, random_state=seed or 0), np.float64)
    # So few that ARPACK, which openTSNE asks, does not take them.
    dense = P.toarray().astype(np.float64)
    roots = np.sqrt(dense.sum(axis=1))
    _, vectors = np.linalg.eigh(dense / np.outer(roots, roots))
    found = np.zeros((n, dimensions))
    found[:, : n - 1] = (vectors[:, ::-1] / roots[:, None])[:, 1:]
    return found
