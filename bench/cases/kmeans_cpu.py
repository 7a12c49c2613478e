"""k-means fits from the same initial centres: single iterations, fits of 25, short fits of few clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench import datasets
from bench.cases.kmeans_fits import EXACT, contenders, gate, task
from bench.model import Case, Curve, Problem, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CASE", "Shape"]

_FULL_ITERATIONS = 5
_FIT = 25
_SHORT = 10
_MB = 1e6


class Shape:
    """One data set and one k, and the problems made of them."""

    def __init__(
        self, name: str, rows: Callable[[], NDArray[np.float32]], n: int, d: int, k: int, seconds: float
    ) -> None:
        self.name, self.rows, self.n, self.d, self.k, self.seconds = name, rows, n, d, k, seconds

    def _problem(
        self,
        kind: str,
        algorithm: str,
        iterations: int,
        targets: Sequence[Target],
        *,
        tol: float = 0.0,
        ceiling: bool = False,
    ) -> Problem:
        # Labels that belong to the last centres take one assignment more than there are iterations.
        flops = 2.0 * self.n * self.d * self.k * (iterations + 1)
        return Problem(
            f"{kind}, {self.name} {self.n}x{self.d} k={self.k}",
            lambda: task(self.rows(), self.k, iterations, tol),
            contenders(algorithm, convergence=tol > 0),
            gate,
            flops=flops if ceiling else 0.0,
            ceilings={"sgemm-block": {"d": self.d, "centers": min(self.k, 256)}, "sgemm-square": {}} if ceiling else {},
            targets=[*targets, Target("never slower than the best exact peer", 1.0, peers=EXACT)],
            rounds=9,
            seconds=self.seconds,
        )

    def full_iteration(self) -> Problem:
        """Every distance is computed."""
        most = 64 * _MB + 4 * self.n
        return self._problem(
            f"full iteration ({_FULL_ITERATIONS} of them)",
            "lloyd",
            _FULL_ITERATIONS,
            [
                Target("90 % of the block ceiling", 0.9, ceiling="sgemm-block"),
                Target("1.25x scikit-learn's Lloyd", 1.25, peer="sklearn-lloyd"),
                Target("4x FAISS", 4.0, peer="faiss"),
                Target("memory unpruned: 64 MB and labels", most, figure="peak_memory_bytes", at_most=True),
            ],
            ceiling=True,
        )

    def grown(self, names: Sequence[str]) -> Problem:
        """Return full iterations of some contenders, without targets: a point of a curve."""
        whole = self.full_iteration()
        chosen = [contender for contender in whole.contenders if contender.name in names]
        block = {"sgemm-block": whole.ceilings["sgemm-block"]}
        return replace(whole, name=f"growth: {whole.name}", contenders=chosen, ceilings=block, targets=[], rounds=3)

    def fit(self, wanted: float, kind: str) -> Problem:
        """As a user fits: what can be left out is left out."""
        return self._problem(
            f"fit of {_FIT} iterations",
            "auto",
            _FIT,
            [Target(f"{kind} fit: {wanted:g}x scikit-learn's Lloyd", wanted, peer="sklearn-lloyd"), self._memory()],
        )

    def short(self) -> Problem:
        """Few clusters, few iterations: overheads count."""
        return self._problem(
            f"short fit of {_SHORT} iterations",
            "auto",
            _SHORT,
            [Target("short fit: 3x scikit-learn's Lloyd", 3.0, peer="sklearn-lloyd"), self._memory()],
        )

    def convergence(self) -> Problem:
        """Until the centres rest within scikit-learn's default tolerance."""
        return self._problem("fit to convergence (tol=1e-4)", "auto", 300, [self._memory()], tol=1e-4)

    def _memory(self) -> Target:
        most = max(0.2 * 4 * self.n * self.d, 64 * _MB + self.n * self.k / 2)
        return Target("memory pruned: 20 % of X or 64 MB + nk/2", most, figure="peak_memory_bytes", at_most=True)


def _problems(size: str) -> Sequence[Problem]:
    small = size == "small"
    n, seconds = (10_000, 2.0) if small else (60_000, 20.0)

    def fashion(k: int) -> Shape:
        return Shape("fashion-mnist", lambda: datasets.fashion_mnist(n), n, 784, k, seconds)

    def reduced(k: int) -> Shape:
        return Shape("fashion-mnist pca", lambda: datasets.fashion_mnist_pca(n, 64), n, 64, k, seconds)

    def mixture(rows: int, d: int, k: int, *, apart: bool = False) -> Shape:
        # Overlapping components keep the iteration busy; those far apart are settled within a few.
        name, spread = ("clustered far apart", 2.0) if apart else ("clustered", 0.7)
        return Shape(name, lambda: datasets.clustered(rows, d, k, spread=spread), rows, d, k, seconds)

    def iid(rows: int, d: int, k: int) -> Shape:
        return Shape("iid", lambda: datasets.iid(rows, d), rows, d, k, seconds)

    if small:
        return [
            fashion(256).full_iteration(),
            reduced(256).full_iteration(),
            iid(n, 128, 1024).full_iteration(),
            fashion(256).fit(4, "clustered"),
            mixture(n, 64, 256).fit(4, "clustered"),
            iid(n, 128, 256).fit(1.4, "iid"),
            fashion(10).short(),
            reduced(10).short(),
            reduced(10).convergence(),
        ]
    large = 100_000
    return [
        *(shape.full_iteration() for shape in (fashion(256), reduced(256), mixture(n, 128, 1024), iid(n, 128, 1024))),
        *(shape.full_iteration() for shape in (mixture(large, 64, 4096), iid(large, 64, 4096))),
        *(shape.fit(4, "clustered") for shape in (fashion(256), reduced(256), reduced(1024))),
        *(shape.fit(4, "clustered") for shape in (mixture(n, 64, 256), mixture(n, 128, 1024))),
        *(shape.fit(4, "clustered") for shape in (mixture(n, 128, 1024, apart=True), mixture(large, 64, 4096))),
        *(shape.fit(1.4, "iid") for shape in (iid(n, 64, 256), iid(n, 128, 256), iid(n, 128, 1024))),
        *(shape.short() for shape in (fashion(10), reduced(10), mixture(n, 64, 10), iid(n, 64, 10))),
        *(shape.convergence() for shape in (fashion(10), reduced(10), reduced(256))),
    ]


def _curves(size: str) -> Sequence[Curve]:
    """Five unpruned iterations, as one size grows and the others stay."""
    small = size == "small"
    n, d, k = (8_000, 64, 128) if small else (32_000, 64, 256)
    seconds = 1.0 if small else 5.0

    def of(n: int, d: int, k: int) -> Problem:
        shape = Shape("iid", lambda: datasets.iid(n, d), n, d, k, seconds)
        return shape.grown(("fastclust", "sklearn-lloyd", "sklearnex", "faiss"))

    steps = (1, 2, 4) if small else (1, 2, 4, 8, 16)
    return [
        Curve("full iterations against n", "n", [n * step // 2 for step in steps], lambda value: of(value, d, k)),
        Curve("full iterations against d", "d", [d * step // 2 for step in steps], lambda value: of(n, value, k)),
        Curve("full iterations against k", "k", [k * step // 2 for step in steps], lambda value: of(n, d, value)),
    ]


CASE = Case("kmeans-cpu", "k-means fits on a CPU from the same initial centres", _problems, _curves)
