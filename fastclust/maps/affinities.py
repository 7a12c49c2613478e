"""Which neighbours a map looks at, and how much it weighs them: Gaussian, of several scales, or all alike."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError

if TYPE_CHECKING:
    from fastclust.maps.tsne import TSNE
    from fastclust.neighbors import NeighborGraph

__all__ = ["KINDS", "affinities_of", "check_affinities", "neighbors_wanted", "perplexities"]

KINDS = ("perplexity", "uniform")
#: As in "The art of using t-SNE" and Boehm et al. (2022): a map of 15 equal neighbours looks like one of perplexity 30.
_UNIFORM = 15


def perplexities(model: TSNE) -> list[float]:
    """Return the perplexities asked for, one or several. Raises InputError for what is none."""
    given: Any = model.perplexity
    several = given if isinstance(given, list | tuple | np.ndarray) else [given]
    if len(several) == 0 or not all(isinstance(each, numbers.Real) and 1 <= float(each) < np.inf for each in several):
        raise InputError("perplexity", repr(given), "a number of at least 1, or several")
    return [float(each) for each in several]


def check_affinities(model: TSNE) -> None:
    """Raise InputError for what no number of rows could make right."""
    if model.affinities not in KINDS:
        raise InputError("affinities", repr(model.affinities), ", ".join(KINDS))
    perplexities(model)
    k = model.k_neighbors
    if k != "auto" and (isinstance(k, bool) or not isinstance(k, numbers.Integral) or k < 1):
        raise InputError("k_neighbors", repr(k), '"auto", or an integer of at least 1')


def neighbors_wanted(model: TSNE, n: int) -> int:
    """Return how many neighbours of each of ``n`` rows are needed. Raises InputError where there are too few rows."""
    if n < 2:
        raise InputError("X", f"{n} rows", "at least 2 rows to draw a map of")
    if model.affinities == "uniform":
        k = _UNIFORM if model.k_neighbors == "auto" else int(model.k_neighbors)
        if k > n - 1:
            raise InputError("k_neighbors", k, f"1..{n - 1}, the number of other rows", "Lower it.")
        return k
    largest = max(perplexities(model))
    if model.k_neighbors == "auto":
        if n < 4:
            raise InputError("X", f"{n} rows", "at least 4 rows, for a perplexity of at least 1")
        if largest > (n - 1) / 3:
            raise InputError(
                "perplexity", model.perplexity, f"at most {(n - 1) / 3:.4g}, a third of the other rows", "Lower it."
            )
        return int(3 * largest)
    k = int(model.k_neighbors)
    if k > n - 1:
        raise InputError("k_neighbors", k, f"1..{n - 1}, the number of other rows", "Lower it.")
    if largest > k:
        raise InputError("perplexity", model.perplexity, f"at most k_neighbors, {k}", "Lower it or raise k_neighbors.")
    return k


def affinities_of(model: TSNE, graph: NeighborGraph) -> Any:
    """Return P, a symmetric SciPy CSR matrix ``[n, n]`` that sums to 1, from all neighbours that the graph holds."""
    from fastclust_kernels.tsne.affinities import conditional, joint, uniform

    if model.affinities == "uniform":
        return uniform(graph.indices)
    return joint(graph.indices, conditional(graph.distances, perplexities(model)))
