"""Hard positives and negatives from the manifold, without labels.

Source: Iscen, Tolias, Avrithis, Chum, "Mining on Manifolds: Metric Learning without Labels", CVPR 2018.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import InputError
from fastclust.mining.anchors import degree_maxima
from fastclust.mining.diffusion import inverse, manifold_similarity, steps_for
from fastclust.mining.neighbourhood import Neighbourhood
from fastclust.mining.pools import ManifoldPools, Ragged
from fastclust.neighbors.affinity import affinity, normalised
from fastclust.progress import report
from fastclust_kernels.dispatch import threads_given

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.neighbors import NeighborGraph

__all__ = ["EVERY_ROW", "mine_manifold"]

#: Up to this many rows, every row is an anchor where nothing else is asked.
EVERY_ROW = 3000
#: Right-hand sides that are solved for at once, so that a block of them stays in the cache; numbers in it at most.
_COLUMNS, _BLOCK = 64, 1 << 21


def mine_manifold(
    graph_or_X: NeighborGraph | NDArray[Any],
    *,
    k_positive: int = 50,
    k_negative: int = 100,
    n_neighbors: int = 30,
    pool_size: int = 50,
    anchors: str | NDArray[Any] = "auto",
    max_anchors: int = 1500,
    alpha: float = 0.99,
    exponent: float = 3.0,
    iterations: int | str = "auto",
    tolerance: float = 0.0,
) -> ManifoldPools:
    """Find, for each anchor, what belongs to it though it lies far, and what lies near though it does not belong.

    Hard positives are in the manifold top ``k_positive`` and not in the direct one, by manifold similarity; hard
    negatives are in the direct top ``k_negative`` and not in the manifold one, by cosine. Rows that no path of the
    mutual graph reaches are in no manifold top.

    Parameters
    ----------
    graph_or_X
        Rows ``[n, d]`` (compared by cosine), or a :class:`fastclust.NeighborGraph`: of metric "cosine", or "euclidean"
        over rows of length 1. Its prefix serves where it is wide enough; where k_positive or k_negative is larger,
        the rows that it keeps (``graph.source``) are searched, for anchors only.
    k_positive, k_negative
        Sizes of the compared lists, at most n - 1.
    n_neighbors
        Neighbours in the graph, of which the mutual ones stay.
    pool_size
        Most rows in one pool.
    anchors
        "all"; "maxima": local maxima of the stationary distribution, in the largest component; "auto": "all" up to
        3,000 rows; or row numbers.
    max_anchors
        Most anchors for "maxima".
    alpha, exponent
        Damping of the diffusion; power of the cosine.
    iterations, tolerance
        Of conjugate gradients; an anchor is done early where its residual is at most ``tolerance``. "auto": 20, or an
        exact solution by a dense factorisation where at least a quarter of up to 3,000 rows are anchors.

    Returns
    -------
    ManifoldPools
        Anchors with an empty pool are left out and counted.

    Raises
    ------
    InputError, InputTypeError
        NaN, wrong shapes, k above n - 1, a graph too narrow without its rows, or a value out of range.
    """
    _check(k_positive, k_negative, n_neighbors, pool_size, max_anchors, alpha, exponent, iterations)
    wide = max(k_positive, k_negative)
    space = Neighbourhood(graph_or_X, n_neighbors, wide, every=lambda rows: _every(anchors, rows))
    graph = affinity(space.indices, space.cosines, exponent=exponent, mutual=True)
    chosen = _anchors(anchors, graph, max_anchors)
    direct, cosines = space.search(chosen, wide)
    transition = normalised(graph)
    kept: list[int] = []
    positives, negatives, weights = [], [], []
    width = max(1, min(_COLUMNS, _BLOCK // space.n_rows))
    starts = range(0, len(chosen), width)
    marks = np.zeros(space.n_rows, bool)

    steps = steps_for(space.n_rows, len(chosen), iterations)
    whole = inverse(transition, alpha) if steps == 0 else None

    def solved(start: int) -> NDArray[np.float64]:
        part = chosen[start : start + width]
        if whole is not None:
            return whole[part]
        similar = manifold_similarity(transition, part, alpha=alpha, iterations=steps, tolerance=tolerance, threads=1)
        return np.ascontiguousarray(similar.T)

    threads = threads_given()
    with ThreadPoolExecutor(threads) as pool:
        # A few blocks at a time: a listener that raises stops the work there.
        for first in range(0, len(starts), threads):
            report("mine", starts[first], len(chosen), f"{starts[first]} of {len(chosen)} anchors")
            some = starts[first : first + threads]
            for start, similar in zip(some, pool.map(solved, some), strict=True):
                for row, f in enumerate(similar, start):
                    anchor = chosen[row]
                    f[anchor] = 0.0
                    top = _top(f, wide)
                    near, near_cosines = _without(direct[row], cosines[row], anchor)
                    positive = _missing(top[:k_positive], near[:k_positive], marks)[:pool_size]
                    order = np.argsort(-near_cosines[:k_negative], kind="stable")
                    negative = _missing(near[:k_negative][order], top[:k_negative], marks)[:pool_size]
                    if len(positive) and len(negative):
                        kept.append(row)
                        positives.append(positive)
                        negatives.append(negative)
                        weights.append(f[positive] / f[top[0]])
    report("mine", 1, 1, f"{len(kept)} of {len(chosen)} anchors kept")
    return ManifoldPools(
        anchors=chosen[kept],
        positives=Ragged.of(positives, np.int64),
        negatives=Ragged.of(negatives, np.int64),
        weights=Ragged.of(weights, np.float64),
        n_dropped=len(chosen) - len(kept),
        n_rows=space.n_rows,
    )


def _top(f: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Return at most ``k`` rows of the largest f above 0, largest first, ties to the lowest row."""
    rows = np.flatnonzero(f > 0)
    if len(rows) > k:
        # Ties at the k-th value all stay until the stable sort below decides between them.
        rows = rows[f[rows] >= np.partition(f[rows], len(rows) - k)[len(rows) - k]]
    order: NDArray[np.int64] = rows[np.argsort(-f[rows], kind="stable")][:k]
    return order


def _missing(rows: NDArray[np.int64], others: NDArray[np.int64], marks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the rows that are not among ``others``, in their order; ``marks`` is all False, and is so again after."""
    marks[others] = True
    found = rows[~marks[rows]]
    marks[others] = False
    return found


def _without(
    indices: NDArray[np.int64], cosines: NDArray[np.float64], anchor: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    keep = indices != anchor
    return indices[keep], cosines[keep]


def _every(anchors: str | NDArray[Any], n: int) -> bool:
    """Whether every row is an anchor."""
    return isinstance(anchors, str) and (anchors == "all" or (anchors == "auto" and n <= EVERY_ROW))


def _anchors(anchors: str | NDArray[Any], graph: Any, most: int) -> NDArray[np.int64]:
    n = graph.shape[0]
    if isinstance(anchors, str):
        if anchors not in ("auto", "all", "maxima"):
            raise InputError("anchors", repr(anchors), '"auto", "all", "maxima" or row numbers')
        if _every(anchors, n):
            return np.arange(n)
        return degree_maxima(graph, most)
    rows = np.asarray(anchors)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise InputError("anchors", f"shape {rows.shape}, dtype {rows.dtype}", "row numbers [a], integers")
    if len(rows) and not (rows.min() >= 0 and rows.max() < n):
        raise InputError("anchors", f"{rows.min()}..{rows.max()}", f"row numbers in 0..{n - 1}")
    return rows.astype(np.int64)


def _check(
    k_positive: int,
    k_negative: int,
    n_neighbors: int,
    pool_size: int,
    max_anchors: int,
    alpha: float,
    exponent: float,
    iterations: int | str,
) -> None:
    if isinstance(iterations, str) and iterations != "auto":
        raise InputError("iterations", repr(iterations), 'an integer of at least 1, or "auto"')
    for name, value in (
        ("k_positive", k_positive),
        ("k_negative", k_negative),
        ("n_neighbors", n_neighbors),
        ("pool_size", pool_size),
        ("max_anchors", max_anchors),
        ("iterations", 1 if isinstance(iterations, str) else iterations),
    ):
        if value < 1:
            raise InputError(name, value, "an integer of at least 1")
    if not 0 < alpha < 1:
        raise InputError("alpha", alpha, "a number between 0 and 1, both excluded")
    if not exponent > 0:
        raise InputError("exponent", exponent, "a number above 0")
