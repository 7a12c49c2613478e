"""Mean silhouettes of many clusterings of the same rows, from one matrix of distances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["mean_silhouettes"]

_BLOCK = 512


def mean_silhouettes(rows: NDArray[np.float64], labelings: Sequence[NDArray[Any]]) -> list[float]:
    """Return the mean silhouette of ``rows`` ``[m, d]`` under each labelling ``[m]``, in their Euclidean distances.

    A row alone in its cluster counts 0, and so does every row of a labelling with one cluster. Distances of a block of
    rows to all are computed once for all labellings: memory is ``512 * m``. Source: Rousseeuw, "Silhouettes: a
    graphical aid to the interpretation and validation of cluster analysis", 1987.
    """
    from scipy.spatial.distance import cdist

    places = [np.unique(labels, return_inverse=True)[1] for labels in labelings]
    members = [_members(place) for place in places]
    sums = np.zeros(len(labelings))
    for start in range(0, len(rows), _BLOCK):
        distances = cdist(rows[start : start + _BLOCK], rows)
        for number, (place, own) in enumerate(zip(places, members, strict=True)):
            sums[number] += _block(distances, place[start : start + _BLOCK], own)
    return [float(mean) for mean in sums / len(rows)]


def _members(place: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ones where a row belongs to a cluster, ``[m, k]``."""
    found = np.zeros((len(place), int(place.max()) + 1))
    found[np.arange(len(place)), place] = 1.0
    return found


def _block(distances: NDArray[np.float64], place: NDArray[np.int64], members: NDArray[np.float64]) -> float:
    """Sum of the silhouettes of some rows."""
    counts = members.sum(axis=0)
    if len(counts) < 2:
        return 0.0
    each = np.arange(len(place))
    sums = distances @ members  # [block, k]
    within = sums[each, place] / np.maximum(counts[place] - 1, 1)
    means = sums / counts
    means[each, place] = np.inf
    beyond = means.min(axis=1)
    larger = np.maximum(within, beyond)
    found = np.where(larger > 0, (beyond - within) / np.where(larger > 0, larger, 1), 0.0)
    return float(found[counts[place] > 1].sum())
