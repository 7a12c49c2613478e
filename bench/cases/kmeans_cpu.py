"""k-means fits from the same initial centres, gated by the inertia that scikit-learn's Lloyd reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench import datasets
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["CASE"]

_SLACK = 2e-5


class _Fit(NamedTuple):
    centers: NDArray[Any]
    n_iter: int


@dataclass
class _Data:
    rows: NDArray[np.float32]
    start: NDArray[np.float32]
    iterations: int
    reference: float
    reference_iterations: int


def _inertia(rows: NDArray[np.float32], centers: NDArray[Any]) -> float:
    """Sum of squared distances to the nearest centre, in float64 from brute force."""
    total, exact = 0.0, centers.astype(np.float64)
    norms = (exact**2).sum(axis=1)
    for start in range(0, len(rows), 8192):
        block = rows[start : start + 8192].astype(np.float64)
        nearest = exact[np.argmin(norms - 2 * block @ exact.T, axis=1)]
        total += float(((block - nearest) ** 2).sum())
    return total


def _load(rows: Callable[[], NDArray[np.float32]], k: int, iterations: int) -> _Data:
    X = rows()
    start = X[np.random.default_rng(0).choice(len(X), k, replace=False)]
    fit = _sklearn("lloyd", _Data(X, start, iterations, 0.0, 0))()
    return _Data(X, start, iterations, _inertia(X, fit.centers), fit.n_iter)


def _ours(data: _Data) -> Callable[[], _Fit]:
    from fastclust import KMeans

    def fit() -> _Fit:
        model = KMeans(len(data.start), init=data.start, n_init=1, max_iter=data.iterations, tol=0).fit(data.rows)
        return _Fit(model.cluster_centers_, model.n_iter_)

    return fit


def _sklearn(algorithm: str, data: _Data) -> Callable[[], _Fit]:
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    def fit() -> _Fit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = KMeans(
                len(data.start), init=data.start, n_init=1, max_iter=data.iterations, tol=0, algorithm=algorithm
            ).fit(data.rows)
        return _Fit(model.cluster_centers_, model.n_iter_)

    return fit


def _faiss(data: _Data) -> Callable[[], _Fit]:
    import faiss

    def fit() -> _Fit:
        k, d = data.start.shape
        model = faiss.Kmeans(d, k, niter=data.iterations, max_points_per_centroid=len(data.rows), seed=0)
        model.train(data.rows, init_centroids=data.start)
        return _Fit(model.centroids, data.iterations)

    return fit


def _gate(data: _Data, fit: _Fit) -> Verdict:
    excess = _inertia(data.rows, fit.centers) / data.reference - 1
    return Verdict(excess <= _SLACK, f"inertia {excess:+.1e} of scikit-learn's, {fit.n_iter} iterations")


def _problem(
    name: str, rows: Callable[[], NDArray[np.float32]], shape: tuple[int, int, int], iterations: int, wanted: float
) -> Problem:
    n, d, k = shape
    contenders = [
        Contender(OURS, _ours),
        Contender("sklearn-lloyd", lambda data: _sklearn("lloyd", data), ("scikit-learn",)),
        Contender("sklearn-elkan", lambda data: _sklearn("elkan", data), ("scikit-learn",)),
        Contender("faiss", _faiss, ("faiss-cpu",)),
    ]
    return Problem(
        f"{name} {n}x{d} k={k}, {iterations} iterations",
        lambda: _load(rows, k, iterations),
        contenders,
        _gate,
        flops=2.0 * n * d * k * iterations,
        ceilings={"sgemm-block": {"d": d, "centers": min(k, 256)}, "sgemm-square": {}},
        figures=lambda data, fit: {"excess_inertia": _inertia(data.rows, fit.centers) / data.reference - 1},
        targets=[
            Target(f"{wanted}x scikit-learn's Lloyd", wanted, peer="sklearn-lloyd"),
            Target("never slower than FAISS", 1.0, peer="faiss"),
        ],
    )


def _problems(size: str) -> Sequence[Problem]:
    n = 20_000 if size == "small" else 60_000
    fashion = lambda: datasets.fashion_mnist(n)  # noqa: E731 - a name for a short recipe
    problems = [
        _problem("fashion-mnist", fashion, (n, 784, 10), 10, 3.0),
        _problem("fashion-mnist", fashion, (n, 784, 256), 25, 4.0),
        _problem("fashion-mnist pca", lambda: datasets.fashion_mnist_pca(n, 64), (n, 64, 256), 25, 4.0),
        _problem("clustered", lambda: datasets.clustered(n, 64, 256), (n, 64, 256), 25, 4.0),
        _problem("iid", lambda: datasets.iid(n, 128), (n, 128, 256), 25, 1.4),
    ]
    if size == "full":
        problems += [
            _problem("iid", lambda: datasets.iid(60_000, 128), (60_000, 128, 1024), 25, 1.4),
            _problem("clustered", lambda: datasets.clustered(100_000, 64, 4096), (100_000, 64, 4096), 25, 4.0),
        ]
    return problems


CASE = Case("kmeans-cpu", "k-means fits on a CPU from the same initial centres", _problems)
