"""k-means whose clusters have bounded sizes, beside k-means-constrained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import datasets
from bench.cases.kmeans_fits import Fit, inertia
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["CASE"]

_SLACK = 0.02
#: Sizes may be this far from the mean.
_AWAY = 0.1
_ITERATIONS = 10


@dataclass
class _Data:
    rows: NDArray[np.float32]
    start: NDArray[np.float32]
    least: int
    most: int
    #: Inertia of k-means-constrained, which runs first.
    reference: float | None = None
    excess: float = float("nan")


def _load(rows: NDArray[np.float32], k: int) -> _Data:
    start = rows[np.random.default_rng(0).choice(len(rows), k, replace=False)]
    return _Data(rows, start, int((1 - _AWAY) * len(rows) / k), int(np.ceil((1 + _AWAY) * len(rows) / k)))


def _ours(data: _Data) -> Callable[[], Fit]:
    from fastclust import BalancedKMeans

    return _of(BalancedKMeans, data)


def _constrained(data: _Data) -> Callable[[], Fit]:
    from k_means_constrained import KMeansConstrained

    return _of(KMeansConstrained, data)


def _of(estimator: Any, data: _Data) -> Callable[[], Fit]:
    model = estimator(
        len(data.start),
        size_min=data.least,
        size_max=data.most,
        init=data.start,
        n_init=1,
        max_iter=_ITERATIONS,
        tol=0,
    )

    def fit() -> Fit:
        model.fit(data.rows)
        return Fit(model.cluster_centers_, model.labels_, int(model.n_iter_))

    return fit


def _gate(data: _Data, fit: Fit) -> Verdict:
    sizes = np.bincount(fit.labels, minlength=len(data.start))
    within = data.least <= sizes.min() and sizes.max() <= data.most and len(sizes) == len(data.start)
    total = inertia(data.rows, fit)
    if data.reference is None:
        data.reference = total
    data.excess = total / data.reference - 1
    return Verdict(
        bool(within) and data.excess <= _SLACK,
        f"sizes {sizes.min()}-{sizes.max()} (allowed {data.least}-{data.most}), inertia {data.excess:+.2%}, "
        f"{fit.n_iter} iterations",
    )


def _problem(name: str, rows: Callable[[], NDArray[np.float32]], shape: tuple[int, int, int], rounds: int) -> Problem:
    n, d, k = shape
    return Problem(
        f"balanced, {name} {n}x{d} k={k}, {_ITERATIONS} iterations",
        lambda: _load(rows(), k),
        [Contender("k-means-constrained", _constrained, ("k-means-constrained",)), Contender(OURS, _ours)],
        _gate,
        figures=lambda data, _fit: {"excess_inertia": data.excess},
        targets=[
            Target("balanced: 10x k-means-constrained", 10.0, peer="k-means-constrained"),
            Target("balanced: inertia within 2 %", _SLACK, figure="excess_inertia", at_most=True),
        ],
        rounds=rounds,
        seconds=20.0 * rounds,
    )


def _problems(size: str) -> Sequence[Problem]:
    if size == "small":
        n, k = 3_000, 20
        return [_problem("fashion-mnist pca", lambda: datasets.fashion_mnist_pca(n, 50), (n, 50, k), 2)]
    n, k = 23_000, 50
    return [
        _problem("fashion-mnist pca", lambda: datasets.fashion_mnist_pca(n, 50), (n, 50, k), 1),
        _problem("clustered", lambda: datasets.clustered(n, 50, k, spread=0.7), (n, 50, k), 1),
    ]


CASE = Case("kmeans-balanced", "k-means with bounds on the sizes of its clusters", _problems)
