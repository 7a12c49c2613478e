"""Where new rows go on a map that stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust_kernels.dispatch import threads_given

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["place"]

#: Rows that are placed together, and steps towards a mode.
_BLOCK, _STEPS = 8192, 10
#: What the pull at a place weighs beside the neighbours that it shows: enough to settle ties.
_TIE = 0.01


def place(map_: NDArray[np.float32], found: NDArray[np.int64], distances: NDArray[Any]) -> NDArray[np.float32]:
    """Place rows on ``map_`` ``[n, dimensions]`` by their k nearest fitted rows; return float32 ``[m, dimensions]``.

    ``found`` and ``distances`` are ``[m, k]``, nearest first. A neighbour weighs the inverse cube of its distance. A
    row may go where one of its neighbours is, or where they pull most: at a mode of their weights under t-SNE's kernel
    ``1 / (1 + d^2)``, by mean shift. It goes where the k nearest points of the map are those neighbours that weigh
    most, and among equals where the pull is strongest.
    """
    from scipy.spatial import cKDTree

    points = map_.astype(np.float64)
    tree = cKDTree(points)
    out = np.empty((len(found), points.shape[1]), np.float32)
    for start in range(0, len(found), _BLOCK):
        some = slice(start, start + _BLOCK)
        out[some] = _best(points, tree, found[some], _weights(distances[some]))
    return out


def _best(
    points: NDArray[np.float64], tree: Any, found: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    m, k = found.shape
    near = points[found]  # [m, k, dimensions]
    pulls = _pulls(near, near, weights)  # [m, k]
    mode = near[np.arange(m), pulls.argmax(axis=1)]
    for _ in range(_STEPS):
        share = weights / (1 + _squares(mode[:, None], near)[:, 0]) ** 2
        mode = np.einsum("mk,mkd->md", share, near) / share.sum(axis=1)[:, None]
    ranks = np.arange(1, k + 1)
    different, back = np.unique(found, return_inverse=True)
    _, around = tree.query(np.concatenate([points[different], mode]), ranks, workers=threads_given())
    lists = np.concatenate([around[back.reshape(m, k)], around[len(different) :, None]], axis=1)  # [m, k + 1, k]
    shown = np.zeros(lists.shape, np.bool_)
    for rank in range(k):
        shown |= lists[:, :, rank : rank + 1] == found[:, None]
    value = np.einsum("mck,mk->mc", shown, weights)
    value += _TIE * np.concatenate([pulls, _pulls(mode[:, None], near, weights)], axis=1)
    places = np.concatenate([near, mode[:, None]], axis=1)
    best: NDArray[np.float64] = places[np.arange(m), value.argmax(axis=1)]
    return best


def _weights(distances: NDArray[Any]) -> NDArray[np.float64]:
    """Inverse cubes ``[m, k]`` that sum to 1; where the nearest is no distance away, those at none share it."""
    wide = distances.astype(np.float64)
    ratio = np.divide(wide[:, :1], wide, out=np.ones_like(wide), where=wide > 0)
    # Products, and no power: a product's bits are the same on every machine.
    weights: NDArray[np.float64] = ratio * ratio * ratio
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _pulls(at: NDArray[np.float64], near: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted kernels ``[m, c]`` at places ``[m, c, dimensions]``."""
    pulls: NDArray[np.float64] = np.einsum("mck,mk->mc", 1 / (1 + _squares(at, near)), weights)
    return pulls


def _squares(at: NDArray[np.float64], near: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances ``[m, c, k]``."""
    squares = np.zeros((*at.shape[:2], near.shape[1]))
    for axis in range(near.shape[2]):
        squares += (at[:, :, None, axis] - near[:, None, :, axis]) ** 2
    return squares
