"""k-means on two levels for very many clusters, beside an exact fit, whole or extrapolated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench import datasets
from bench.cases.kmeans_fits import Fit, inertia
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["CASE"]

#: Promised, and beyond which a result is no answer at all.
_SLACK, _MOST = 0.01, 0.1
_ITERATIONS = 25


@dataclass
class _Data:
    rows: NDArray[np.float32]
    k: int
    #: Iterations of the exact fit.
    iterations: int
    #: Inertia of the exact fit, which runs first.
    reference: float | None = None
    excess: float = float("nan")
    certified: float = float("nan")


def _ours(data: _Data) -> Callable[[], Fit]:
    from fastclust import HierarchicalKMeans

    HierarchicalKMeans(64, random_state=0).fit(data.rows[:5000])  # compiles
    model = HierarchicalKMeans(data.k, random_state=0)

    def fit() -> Fit:
        model.fit(data.rows)
        data.certified = float(model.certified_)
        return Fit(model.cluster_centers_, model.labels_, model.n_iter_, "hierarchical")

    return fit


def _exact(data: _Data) -> Callable[[], Fit]:
    from fastclust import KMeans

    init: object = "auto"
    if data.iterations == 1:
        # What is extrapolated is an iteration, not the start.
        init = data.rows[np.random.default_rng(0).choice(len(data.rows), data.k, replace=False)]
    KMeans(64, max_iter=2, random_state=0).fit(data.rows[:5000])  # compiles
    algorithm = "lloyd" if data.iterations == 1 else "auto"
    model = KMeans(data.k, init=init, n_init=1, max_iter=data.iterations, tol=0, algorithm=algorithm, random_state=0)

    def fit() -> Fit:
        model.fit(data.rows)
        return Fit(model.cluster_centers_, model.labels_, model.n_iter_)

    return fit


def _gate(data: _Data, fit: Fit) -> Verdict:
    total = inertia(data.rows, fit)
    if data.reference is None:
        data.reference = total
    data.excess = total / data.reference - 1
    said = f", certified {data.certified:.1%}" if fit.algorithm else ""
    return Verdict(
        data.excess <= _MOST,
        f"inertia {data.excess:+.2%} of an exact fit's of {data.iterations} iterations (at most {_MOST:+.0%}){said}",
    )


def _problem(
    name: str, rows: Callable[[], NDArray[np.float32]], shape: tuple[int, int, int], *, feasible: bool
) -> Problem:
    n, d, k = shape
    if feasible:
        exact = Contender("KMeans", _exact, remark=f"exact, {_ITERATIONS} iterations")
    else:
        # One iteration and the labels at the end are two assignments; 25 iterations have 26.
        exact = Contender(
            "KMeans",
            _exact,
            remark=f"{_ITERATIONS} exact unpruned iterations without their start, extrapolated from a fit of one",
            times=(_ITERATIONS + 1) / 2,
        )
    kind = "exact fit feasible" if feasible else "exact fit extrapolated"
    excess = Target("hierarchical: inertia at most 1 % above", _SLACK, figure="excess_inertia", at_most=True)
    faster = Target("hierarchical: 10x an exact fit", 10.0, peer="KMeans")
    return Problem(
        f"{kind}, {name} {n}x{d} k={k}",
        lambda: _Data(rows(), k, _ITERATIONS if feasible else 1),
        [exact, Contender(OURS, _ours)],
        _gate,
        figures=lambda data, fit: (
            {"excess_inertia": data.excess, **({"certified": data.certified} if fit.algorithm else {})}
        ),
        targets=[excess] if feasible else [faster],
        once=True,
    )


def _problems(size: str) -> Sequence[Problem]:
    if size == "small":
        return [
            _problem(
                "clustered", lambda: datasets.clustered(20_000, 32, 500, spread=0.7), (20_000, 32, 1000), feasible=True
            )
        ]
    return [
        _problem(
            "fashion-mnist pca", lambda: datasets.fashion_mnist_pca(60_000, 64), (60_000, 64, 2000), feasible=True
        ),
        _problem(
            "clustered", lambda: datasets.clustered(100_000, 64, 2000, spread=0.7), (100_000, 64, 5000), feasible=True
        ),
        _problem(
            "clustered",
            lambda: datasets.clustered(1_000_000, 64, 20_000, spread=0.7),
            (1_000_000, 64, 50_000),
            feasible=False,
        ),
    ]


CASE = Case("kmeans-hierarchical", "k-means on two levels for tens of thousands of clusters", _problems)
