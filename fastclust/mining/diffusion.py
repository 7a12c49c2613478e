"""Similarity on the manifold: (I - alpha S) f = e by conjugate gradients, many right-hand sides at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

__all__ = ["manifold_similarity"]


def manifold_similarity(
    transition: csr_matrix,
    anchors: NDArray[np.int64],
    *,
    alpha: float,
    iterations: int,
    tolerance: float = 0.0,
) -> NDArray[np.float64]:
    """Return f ``[n, anchors]`` of (I - alpha S) f = e_anchor.

    ``transition`` is S, symmetric with eigenvalues in [-1, 1], so the system is positive definite for alpha < 1. A
    column stops where its residual norm is at most ``tolerance`` (that of e_anchor being 1); the others go on.
    Source: Iscen, Tolias, Avrithis, Furon, Chum, CVPR 2017 and 2018.
    """
    columns = np.arange(len(anchors))
    found = np.zeros((transition.shape[0], len(anchors)))
    residual = np.zeros_like(found)
    residual[anchors, columns] = 1.0
    direction = residual.copy()
    norm = np.ones(len(anchors))
    for _ in range(iterations):
        active = norm > tolerance * tolerance
        if not active.any():
            break
        image = direction - alpha * (transition @ direction)
        curvature = np.einsum("ij,ij->j", direction, image)
        step = np.divide(norm, curvature, out=np.zeros_like(norm), where=active & (curvature > 0))
        found += step * direction
        residual -= step * image
        after = np.einsum("ij,ij->j", residual, residual)
        turn = np.divide(after, norm, out=np.zeros_like(norm), where=active)
        direction = residual + turn * direction
        norm = after
    return found
