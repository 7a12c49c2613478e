"""Exact neighbours by our own products and top-k: no package needed, distances from differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["brute_force", "true_distances"]

_CELLS = 2**25
_SPARE = 8


def brute_force(
    rows: NDArray[np.float32], queries: NDArray[np.float32], k: int, *, inner: bool, step: str = "neighbors"
) -> NDArray[np.int64]:
    """Row numbers ``[q, k]`` of the nearest rows (or, with ``inner``, of the largest inner products), ties by number.

    Products of blocks give ``k + 8`` candidates a query, in float32 around the mean of the rows; these are ranked again
    by differences in float64, so that cancellation cannot reorder them.
    """
    shift = np.zeros(rows.shape[1], np.float32) if inner else rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    base = rows - shift
    half = np.zeros(len(rows), np.float32)
    if not inner:
        half = (0.5 * np.einsum("ij,ij->i", base, base, dtype=np.float64)).astype(np.float32)
    keep = min(k + _SPARE, len(rows))
    out = np.empty((len(queries), k), np.int64)
    block = max(1, min(len(queries), _CELLS // len(rows)))
    for start in range(0, len(queries), block):
        part = queries[start : start + block]
        score = half - (part - shift) @ base.T
        if keep < len(rows):
            candidates = np.argpartition(score, keep - 1, axis=1)[:, :keep]
        else:
            candidates = np.broadcast_to(np.arange(len(rows)), score.shape)
        exact = _exact(rows, part, candidates, inner=inner)
        order = np.lexsort((candidates, exact), axis=1)[:, :k]
        out[start : start + block] = np.take_along_axis(candidates, order, axis=1)
        progress.report(step, start + len(part), len(queries), "brute force")
    return out


def _exact(rows: NDArray[Any], queries: NDArray[Any], found: NDArray[np.int64], *, inner: bool) -> NDArray[np.float64]:
    """What is ranked by: squared distances, or negative inner products, in float64: ``[q, m]``."""
    out = np.empty(found.shape)
    step = max(1, 2**22 // (found.shape[1] * rows.shape[1]))
    for start in range(0, len(queries), step):
        near = rows[found[start : start + step]].astype(np.float64)
        own = queries[start : start + step, None].astype(np.float64)
        if inner:
            out[start : start + step] = -(near * own).sum(axis=2)
        else:
            near -= own
            out[start : start + step] = np.einsum("qmd,qmd->qm", near, near)
    return out


def true_distances(
    rows: NDArray[Any], queries: NDArray[Any], found: NDArray[np.int64], *, inner: bool
) -> NDArray[np.float64]:
    """Distances ``[q, k]`` to the rows ``found``, by differences; for ``inner`` the inner products, negated."""
    exact = _exact(rows, queries, np.maximum(found, 0), inner=inner)
    return exact if inner else np.sqrt(exact)
