"""Where k-means starts with many clusters: how long the seeding takes, and where a fit from it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import datasets, machine
from bench.cases.kmeans_fits import Fit, inertia
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["CASE"]

_ITERATIONS = 10
#: Of the fit that tells how good a start is.
_FIT = 25
_SLACK = 0.01


@dataclass
class _Data:
    rows: NDArray[np.float32]
    k: int
    #: Inertia of the fit that starts from scikit-learn's k-means++, which runs first.
    reference: float | None = None
    #: Excess of the start judged last.
    excess: float = float("nan")


@dataclass
class _Start:
    #: None of what is no start, only a yardstick of time.
    centers: NDArray[Any] | None
    #: Whether one thread gives the same bits; None where nobody asked.
    same_bits: Callable[[], bool] | None = None


def _ours(init: str, data: _Data) -> Callable[[], _Start]:
    from fastclust.cluster.rows import DenseRows
    from fastclust.cluster.seeding import initial_centers

    def seed() -> NDArray[Any]:
        return initial_centers(init, DenseRows(data.rows), data.k, None, np.random.RandomState(0))[0]

    for name in ("k-means++", "cells", "k-means||"):  # compiles
        initial_centers(name, DenseRows(data.rows[:2000]), 64, None, np.random.RandomState(0))

    def same_bits(found: NDArray[Any]) -> bool:
        threads = machine.threads_given()
        machine.equalise(1)
        try:
            return bool(np.array_equal(found, seed()))
        finally:
            machine.equalise(threads)

    def start() -> _Start:
        centers = seed()
        return _Start(centers, lambda: same_bits(centers))

    return start


def _sklearn(data: _Data) -> Callable[[], _Start]:
    from sklearn.cluster import kmeans_plusplus

    return lambda: _Start(kmeans_plusplus(data.rows, data.k, random_state=0)[0])


def _fit(data: _Data, centers: NDArray[Any], iterations: int) -> Fit:
    from fastclust import KMeans

    model = KMeans(data.k, init=centers, n_init=1, max_iter=iterations, tol=0).fit(data.rows)
    return Fit(model.cluster_centers_, model.labels_, model.n_iter_)


def _lloyd(data: _Data) -> Callable[[], _Start]:
    from fastclust import KMeans

    start = data.rows[np.random.default_rng(0).choice(len(data.rows), data.k, replace=False)]
    KMeans(64, init=start[:64], n_init=1, max_iter=2, algorithm="lloyd").fit(data.rows[:2000])  # compiles
    # The labels at the end take one assignment more than there are iterations.
    model = KMeans(data.k, init=start, n_init=1, max_iter=_ITERATIONS - 1, tol=0, algorithm="lloyd")

    def iterate() -> _Start:
        model.fit(data.rows)
        return _Start(None)

    return iterate


def _gate(data: _Data, start: _Start) -> Verdict:
    if start.centers is None:
        return Verdict(passed=True, detail="a yardstick of time, nothing to judge")
    if start.centers.shape != (data.k, data.rows.shape[1]) or len(np.unique(start.centers, axis=0)) < data.k:
        return Verdict(passed=False, detail="fewer different centres than asked for")
    ends = inertia(data.rows, _fit(data, start.centers, _FIT))
    if data.reference is None:
        data.reference = ends
    data.excess = ends / data.reference - 1
    detail = f"the fit of {_FIT} iterations from it ends at {data.excess:+.2%} of scikit-learn's k-means++ start"
    if start.same_bits is None:
        return Verdict(data.excess <= _SLACK, detail)
    same = start.same_bits()
    return Verdict(data.excess <= _SLACK and same, detail + (", same bits with 1 thread" if same else ", OTHER BITS"))


def _problem(name: str, rows: Callable[[], NDArray[np.float32]], shape: tuple[int, int, int], once: bool) -> Problem:
    n, d, k = shape
    return Problem(
        f"start, {name} {n}x{d} k={k}",
        lambda: _Data(rows(), k),
        [
            Contender("sklearn", _sklearn, ("scikit-learn",), "kmeans_plusplus"),
            Contender(OURS, lambda data: _ours("auto", data), remark='init="auto"'),
            Contender("k-means++", lambda data: _ours("k-means++", data), remark='ours with init="k-means++", exact'),
            Contender("k-means||", lambda data: _ours("k-means||", data), remark='ours with init="k-means||"'),
            Contender("ten iterations", _lloyd, remark=f"{_ITERATIONS} of our unpruned iterations, from random rows"),
        ],
        _gate,
        figures=lambda data, start: {} if start.centers is None else {"excess_inertia": data.excess},
        targets=[
            # Promised where there are many clusters; few are another matter.
            *([Target("seeding: less time than 10 iterations", 1.0, peer="ten iterations")] if once else []),
            Target("seeding: the fit ends at most 1 % above", _SLACK, figure="excess_inertia", at_most=True),
            Target("seeding: never slower than scikit-learn's", 1.0, peer="sklearn"),
        ],
        rounds=3,
        seconds=3.0,
        once=once,
    )


def _problems(size: str) -> Sequence[Problem]:
    if size == "small":
        return [
            _problem(
                "clustered", lambda: datasets.clustered(10_000, 64, 256, spread=0.7), (10_000, 64, 256), once=False
            )
        ]
    n, k = 100_000, 4096
    return [
        _problem("clustered", lambda: datasets.clustered(n, 64, k, spread=0.7), (n, 64, k), once=True),
        _problem("fashion-mnist pca", lambda: datasets.fashion_mnist_pca(60_000, 64), (60_000, 64, 2048), once=True),
    ]


CASE = Case("kmeans++", "how long the start of k-means takes, and what it is worth", _problems)
