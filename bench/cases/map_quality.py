"""How good a map is, by evaluators that belong to none of the contenders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["accuracy_10nn", "force_error", "kl_divergence", "preservation_10nn", "sampled_preservation"]

_BLOCK = 1000
_SAMPLE = 1000


def kl_divergence(P: Any, Y: NDArray[Any]) -> float:
    """KL(P || Q) with the exact normalisation over all pairs, in float64 blocks."""
    Y = np.asarray(Y, np.float64)
    z = 0.0
    norms = (Y**2).sum(axis=1)
    for start in range(0, len(Y), _BLOCK):
        block = Y[start : start + _BLOCK]
        squared = norms[start : start + _BLOCK, None] + norms - 2 * block @ Y.T
        z += float((1 / (1 + np.maximum(squared, 0))).sum())
    z -= len(Y)
    P = P.tocoo()
    squared = ((Y[P.row] - Y[P.col]) ** 2).sum(axis=1)
    return float((P.data * np.log(np.maximum(P.data, 1e-300) * (1 + squared) * z)).sum())


def _neighbors(Y: NDArray[Any]) -> NDArray[np.int64]:
    from sklearn.neighbors import NearestNeighbors

    found: NDArray[np.int64] = NearestNeighbors(n_neighbors=10).fit(Y).kneighbors(return_distance=False)
    return found


def accuracy_10nn(labels: NDArray[np.int64], Y: NDArray[Any]) -> float:
    """Leave-one-out accuracy of 10 nearest neighbours on the map."""
    votes = np.zeros((len(Y), int(labels.max()) + 1), np.int32)
    np.add.at(votes, (np.arange(len(Y))[:, None], labels[_neighbors(Y)]), 1)
    return float((votes.argmax(axis=1) == labels).mean())


def preservation_10nn(indices: NDArray[Any], Y: NDArray[Any]) -> float:
    """Share of the 10 nearest neighbours of the data, ``indices`` ``[n, 10 or more]``, that are so on the map."""
    return float((indices[:, :10, None] == _neighbors(Y)[:, None]).any(axis=2).mean())


def sampled_preservation(rows: NDArray[np.float32], Y: NDArray[Any]) -> float:
    """Estimate the same for many rows, from the exact neighbours of a sample."""
    sample = np.random.default_rng(0).choice(len(rows), min(_SAMPLE, len(rows)), replace=False)
    return float(np.mean([len(_nearest(rows, i) & _nearest(Y, i)) / 10 for i in sample]))


def _nearest(points: NDArray[Any], i: int) -> set[int]:
    squared = ((points - points[i]) ** 2).sum(axis=1)
    squared[i] = np.inf
    return set(np.argpartition(squared, 10)[:10].tolist())


def force_error(Y: NDArray[Any]) -> float:
    """Relative root mean square error of our repulsion at these points against all pairs in float64, on a sample."""
    from fastclust_kernels.tsne import repulsion

    points = np.asarray(Y, np.float64)
    sample = np.random.default_rng(0).choice(len(points), min(_SAMPLE, len(points)), replace=False)
    exact = np.empty((len(sample), points.shape[1]))
    for place, i in enumerate(sample):
        apart = points[i] - points
        weights = 1 / (1 + (apart**2).sum(axis=1))
        weights[i] = 0
        exact[place] = weights**2 @ apart
    found = repulsion(np.asarray(Y, np.float32)).forces[sample]
    return float(np.sqrt(((found - exact) ** 2).sum() / (exact**2).sum()))
