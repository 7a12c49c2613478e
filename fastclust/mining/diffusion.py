"""Similarity on the manifold: (I - alpha S) f = e by conjugate gradients, many right-hand sides at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from fastclust.errors import InputError
from fastclust_kernels.dispatch import threads_given

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

__all__ = ["diffused", "inverse", "manifold_similarity", "steps_for"]

#: Iterations of conjugate gradients where nothing else is asked.
_ITERATIONS = 20
#: Rows up to which all similarities are solved for directly, where this share of them or more are anchors.
_DENSE, _MANY = 3000, 0.25

#: Right-hand sides that a thread solves for at once, so that a block of them stays in the cache; numbers in it at most.
_COLUMNS, _BLOCK = 64, 1 << 21
#: Rows of a triangle that are copied to the other one at once.
_MIRRORED = 256


def manifold_similarity(
    transition: csr_matrix,
    anchors: NDArray[np.int64],
    *,
    alpha: float,
    iterations: int | str,
    tolerance: float = 0.0,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """Return f ``[n, anchors]`` of (I - alpha S) f = e_anchor; see :func:`diffused`, and :func:`steps_for` for "auto".

    Source: Iscen, Tolias, Avrithis, Furon, Chum, CVPR 2017 and 2018.
    """
    steps = steps_for(transition.shape[0], len(anchors), iterations)
    if steps == 0:
        return inverse(transition, alpha)[:, anchors]
    start = np.zeros((transition.shape[0], len(anchors)))
    start[anchors, np.arange(len(anchors))] = 1.0
    return diffused(transition, start, alpha=alpha, iterations=steps, tolerance=tolerance, threads=threads)


def steps_for(rows: int, anchors: int, iterations: int | str) -> int:
    """Return the iterations of conjugate gradients; for "auto" 20, or 0 where :func:`inverse` is quicker.

    Raises InputError for anything else than "auto" or 1 and more.
    """
    if not isinstance(iterations, str) and iterations >= 1:
        return iterations
    if iterations != "auto":
        raise InputError("iterations", repr(iterations), '"auto", or 1 and more')
    return 0 if rows <= _DENSE and anchors >= _MANY * rows else _ITERATIONS


def inverse(transition: csr_matrix, alpha: float) -> NDArray[np.float64]:
    """Return (I - alpha S)^-1 ``[n, n]``, symmetric: f of every row, exactly; memory and time of a dense matrix.

    By Cholesky's factors, on one thread: the same bits however many there are. Rows that no path joins have exactly 0.
    Raises InputError unless S is symmetric with eigenvalues in [-1, 1].
    """
    from scipy.linalg import lapack
    from threadpoolctl import threadpool_limits

    matrix = np.asfortranarray(transition.toarray())
    matrix *= -alpha
    matrix.flat[:: len(matrix) + 1] += 1
    with threadpool_limits(1):
        factor, failed = lapack.dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
        if failed:
            raise InputError("transition", "a matrix that is not definite", "symmetric, eigenvalues in [-1, 1]")
        found, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
    for first in range(0, len(found), _MIRRORED):
        last = first + _MIRRORED
        lower = np.tril(found[first:last, first:last])
        found[first:last, first:last] = lower + np.tril(lower, -1).T
        found[first:last, last:] = found[last:, first:last].T
    mirrored: NDArray[np.float64] = found.T
    return mirrored


def diffused(
    transition: csr_matrix,
    start: NDArray[np.float64],
    *,
    alpha: float,
    iterations: int,
    tolerance: float = 0.0,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """Return f ``[n, c]`` of (I - alpha S) f = ``start``, in the place of ``start``.

    ``transition`` is S, symmetric with eigenvalues in [-1, 1], so the system is positive definite for alpha < 1. A
    column stops where its residual norm is at most ``tolerance`` times what it began with; the others go on. Columns
    are solved for in blocks, on ``threads``; None: all.
    """
    n, columns = start.shape
    workers = threads_given() if threads is None else threads
    width = max(1, min(_COLUMNS, _BLOCK // max(n, 1), -(-columns // workers)))

    def solve(first: int) -> None:
        part = np.ascontiguousarray(start[:, first : first + width])
        start[:, first : first + width] = _solved(transition, part, alpha, iterations, tolerance)

    if workers == 1:
        for first in range(0, columns, width):
            solve(first)
        return start
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(solve, range(0, columns, width)))
    return start


def _solved(
    transition: csr_matrix, start: NDArray[np.float64], alpha: float, iterations: int, tolerance: float
) -> NDArray[np.float64]:
    """Solve for the columns of one block; ``start`` is written over."""
    found = np.zeros_like(start)
    residual = start
    direction = residual.copy()
    norm = np.einsum("ij,ij->j", residual, residual)
    enough = tolerance * tolerance * norm
    for _ in range(iterations):
        active = norm > enough
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
