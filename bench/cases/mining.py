"""Mining on the manifold: similarity by conjugate gradients and the pools made of it, beside the dense solve."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench import datasets
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

__all__ = ["CASE"]

_ALPHA, _NEIGHBORS, _TOP = 0.99, 30, 50
_POSITIVE, _NEGATIVE = 50, 100
#: Of the top 50 by the dense solve, the least share found; and of its pools.
_OVERLAP, _POOLS = 0.95, 0.9
#: Seconds of the public implementation for 3,000 rows at truncation 1,000, on another machine of two cores.
_PUBLIC = 8.5
_WHOLE = 3_000


@dataclass
class _Graph:
    unit: NDArray[np.float32]
    #: S, [n, n]
    transition: csr_matrix
    #: (I - alpha S)^-1, float64 [n, n], and the rows of its largest values beside the diagonal, [n, 50].
    dense: NDArray[np.float64]
    top: NDArray[np.int64]


def _graph(count: int) -> _Graph:
    import fastclust as fc
    from fastclust.neighbors.affinity import affinity, normalised

    X = datasets.fashion_mnist(count)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    graph = fc.knn_graph(unit, n_neighbors=_NEIGHBORS, metric="cosine")
    transition = normalised(affinity(graph.indices, 1 - graph.distances.astype(np.float64), exponent=3.0, mutual=True))
    dense = _dense(transition)
    return _Graph(unit, transition, dense, _top(dense))


def _dense(transition: csr_matrix) -> NDArray[np.float64]:
    n = transition.shape[0]
    return np.linalg.solve(np.eye(n) - _ALPHA * transition.toarray(), np.eye(n))


def _top(similarity: NDArray[np.float64]) -> NDArray[np.int64]:
    beside = similarity.copy()
    np.fill_diagonal(beside, -1)
    return np.argpartition(-beside, _TOP, axis=0)[:_TOP].T


def _figures(data: _Graph, found: NDArray[np.float64]) -> dict[str, float]:
    """Share of each anchor's true top 50 that is found (rows at 0 count for neither), and the largest error of f."""
    shares = []
    for column, (mine, true) in enumerate(zip(_top(found), data.top, strict=True)):
        reached = true[data.dense[true, column] > 1e-12]
        if len(reached):
            shares.append(np.isin(reached, mine).mean())
    error = np.linalg.norm(found - data.dense, axis=0) / np.linalg.norm(data.dense, axis=0)
    return {"top_50": float(np.mean(shares)), "error": float(error.mean())}


def _similarity(count: int) -> Problem:
    from fastclust.mining import manifold_similarity

    def gate(data: _Graph, found: NDArray[np.float64]) -> Verdict:
        figures = _figures(data, found)
        detail = f"{figures['top_50']:.4f} of the top {_TOP} (at least {_OVERLAP}), f {figures['error']:.2%} away"
        return Verdict(figures["top_50"] >= _OVERLAP, detail)

    return Problem(
        f"manifold similarity of all to all, fashion-mnist {count}",
        lambda: _graph(count),
        [
            Contender(
                OURS,
                lambda data: (
                    lambda: manifold_similarity(data.transition, np.arange(count), alpha=_ALPHA, iterations="auto")
                ),
                remark="as mining does by itself",
            ),
            Contender(
                "conjugate gradients",
                lambda data: (
                    lambda: manifold_similarity(data.transition, np.arange(count), alpha=_ALPHA, iterations=20)
                ),
                remark="ours too: 20 iterations, as mining does for more rows or fewer anchors",
            ),
            Contender("dense solve", lambda data: lambda: _dense(data.transition), remark="LAPACK, float64"),
        ],
        gate,
        figures=_figures,
        targets=[
            Target("mining: 98.6 % of the dense top 50", 0.986, figure="top_50"),
            Target("mining: f within 3.6 % of the dense solve", 0.036, figure="error", at_most=True),
        ],
        rounds=3,
    )


class _Pools(NamedTuple):
    positives: list[set[int]]
    negatives: list[set[int]]
    seconds: float


def _mined(data: _Graph) -> Callable[[], _Pools]:
    import fastclust as fc

    def run() -> _Pools:
        start = time.perf_counter()
        pools = fc.mine_manifold(
            data.unit, k_positive=_POSITIVE, k_negative=_NEGATIVE, n_neighbors=_NEIGHBORS, anchors="all"
        )
        seconds = time.perf_counter() - start
        positives: list[set[int]] = [set() for _ in range(len(data.unit))]
        negatives: list[set[int]] = [set() for _ in range(len(data.unit))]
        for place, anchor in enumerate(pools.anchors):
            positives[anchor] = set(pools.positives[place].tolist())
            negatives[anchor] = set(pools.negatives[place].tolist())
        return _Pools(positives, negatives, seconds)

    return run


def _dense_pools(data: _Graph) -> Callable[[], _Pools]:
    def run() -> _Pools:
        start = time.perf_counter()
        similar, cosine = _dense(data.transition), data.unit.astype(np.float64) @ data.unit.T
        np.fill_diagonal(similar, 0)
        np.fill_diagonal(cosine, -2)
        positives: list[set[int]] = []
        negatives: list[set[int]] = []
        for f, c in zip(similar, cosine, strict=True):
            top = [row for row in np.argsort(-f, kind="stable")[:_NEGATIVE].tolist() if f[row] > 1e-12]
            near = np.argsort(-c, kind="stable")[:_NEGATIVE].tolist()
            positive = set(top[:_POSITIVE]) - set(near[:_POSITIVE])
            outside = set(top)
            negative = set([row for row in near if row not in outside][:50])
            both = bool(positive and negative)
            positives.append(positive if both else set())
            negatives.append(negative if both else set())
        return _Pools(positives, negatives, time.perf_counter() - start)

    return run


def _pools(count: int) -> Problem:
    true: dict[int, _Pools] = {}

    def figures(data: _Graph, found: _Pools) -> dict[str, float]:
        if id(data) not in true:
            true.clear()
            true[id(data)] = _dense_pools(data)()
        return {
            "positives": _same(found.positives, true[id(data)].positives),
            "negatives": _same(found.negatives, true[id(data)].negatives),
            "seconds": found.seconds,
        }

    def gate(data: _Graph, found: _Pools) -> Verdict:
        shares = figures(data, found)
        least = min(shares["positives"], shares["negatives"])
        detail = (
            f"{shares['positives']:.3f} of positives and {shares['negatives']:.3f} of negatives as by the dense solve"
        )
        return Verdict(least >= _POOLS, f"{detail} (at least {_POOLS})")

    return Problem(
        f"pools of all rows, graph included, fashion-mnist {count}",
        lambda: _graph(count),
        [
            Contender(OURS, _mined),
            Contender("dense solve and full sorts", _dense_pools, remark="its graph is given"),
        ],
        gate,
        figures=figures,
        targets=[Target(f"mining 3k rows: at most {_PUBLIC} s", _PUBLIC, figure="seconds", at_most=True)]
        if count == _WHOLE
        else [],
        rounds=3,
    )


def _same(found: list[set[int]], true: list[set[int]]) -> float:
    """Members in both over members in either, all rows together."""
    both = sum(len(a & b) for a, b in zip(found, true, strict=True))
    return both / max(1, sum(len(a | b) for a, b in zip(found, true, strict=True)))


def _problems(size: str) -> Sequence[Problem]:
    count = 1_000 if size == "small" else _WHOLE
    return [_similarity(count), _pools(count)]


CASE = Case("mining", "similarity along the manifold and hard pools, beside the dense solve", _problems)
