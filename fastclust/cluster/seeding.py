"""Initial centres: k-means++, random rows, an array or a callable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.errors import InputError
from fastclust_kernels.assign import distances_to_few

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

__all__ = ["initial_centers"]

_METHODS = ("k-means++", "random")


def initial_centers(
    init: Any, X: NDArray[Any], k: int, weights: NDArray[np.float64], random: RandomState
) -> NDArray[Any]:
    """Return k starting centres ``[k, d]`` with the dtype of ``X``. Raises InputError."""
    if isinstance(init, str):
        if init == "k-means++":
            return _plus_plus(X, k, weights, random)
        if init == "random":
            chance = weights / weights.sum()
            return X[random.choice(len(X), size=k, replace=False, p=chance)].copy()
        raise InputError("init", repr(init), f"{', '.join(_METHODS)}, an array or a callable")
    centers = np.array(init(X, k, random_state=random) if callable(init) else init, dtype=X.dtype, order="C")
    if centers.shape != (k, X.shape[1]):
        message = f"The shape of the initial centers {centers.shape} does not match the number of clusters {k} "
        raise InputError("init", f"shape {centers.shape}", f"({k}, {X.shape[1]})", message + "and columns.")
    if not np.isfinite(centers).all():
        raise InputError("init", "NaN or Inf", "finite numbers")
    return centers


def _plus_plus(X: NDArray[Any], k: int, weights: NDArray[np.float64], random: RandomState) -> NDArray[Any]:
    """Greedy k-means++ (Arthur and Vassilvitskii, 2007; greedy as in section 6 there).

    Each centre is the best of 2 + log k rows drawn with a chance proportional to weight times squared distance to the
    nearest centre so far.
    """
    trials = 2 + int(np.log(k))
    chosen = np.empty(k, np.int64)
    chosen[0] = random.choice(len(X), p=weights / weights.sum())
    nearest = distances_to_few(X, X[chosen[:1]])[0]
    for place in range(1, k):
        heap = np.cumsum(weights * nearest)
        if heap[-1] > 0:
            candidates = np.searchsorted(heap, random.uniform(size=trials) * heap[-1])
            candidates = np.minimum(candidates, len(X) - 1)
        else:
            # Fewer distinct rows than clusters: any row not taken yet.
            candidates = np.setdiff1d(np.arange(len(X)), chosen[:place])[:1]
        reached = np.minimum(nearest, distances_to_few(X, X[candidates]))
        best = int(np.argmin(reached @ weights))
        chosen[place], nearest = candidates[best], reached[best]
        progress.report("seed", place, k, "k-means++")
    return X[chosen].copy()
