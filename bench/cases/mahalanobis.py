"""Mahalanobis distances beside SciPy, scikit-learn and the plain product, gated by exact differences."""

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

_BOUND = {"float64": 1e-12, "float32": 2e-6}
_DOT = "np.dot"
_DOT_REMARK = "X Y^T alone, into an array that is there"
_NEIGHBORS = 10
#: Rows whose neighbours are checked.
_CHECKED = 200


class _Product(NamedTuple):
    """What the plain product leaves: no distances, so that no gate applies."""

    products: NDArray[Any]


@dataclass
class _Data:
    x: NDArray[Any]
    y: NDArray[Any]
    precision: NDArray[Any]


def _load(n: int, m: int, d: int, dtype: str, offset: float) -> _Data:
    x, y = datasets.iid(n, d, dtype), datasets.iid(m, d, dtype, seed=1)
    precision = datasets.precision_with_condition(d, 1e2).astype(dtype)
    kind = np.dtype(dtype).type
    return _Data(
        x * kind(1e-3 if offset else 1) + kind(offset), y * kind(1e-3 if offset else 1) + kind(offset), precision
    )


def _ours(data: _Data) -> Callable[[], NDArray[Any]]:
    import fastclust as fc

    return lambda: fc.mahalanobis(data.x, data.y, VI=data.precision)


def _ours_into(data: _Data) -> Callable[[], NDArray[Any]]:
    import fastclust as fc

    out = np.zeros((len(data.x), len(data.y)), data.x.dtype)
    return lambda: fc.mahalanobis(data.x, data.y, VI=data.precision, out=out)


def _scipy(data: _Data) -> Callable[[], NDArray[Any]]:
    from scipy.spatial.distance import cdist

    return lambda: cdist(data.x, data.y, "mahalanobis", VI=data.precision)


def _dot(data: _Data) -> Callable[[], _Product]:
    out = np.zeros((len(data.x), len(data.y)), data.x.dtype)
    return lambda: _Product(np.dot(data.x, data.y.T, out=out))


def _exact(data: _Data, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.longdouble]:
    """Distances by differences in long double, from the given inputs."""
    difference = data.x[rows].astype(np.longdouble) - data.y[columns].astype(np.longdouble)
    root: NDArray[np.longdouble] = np.sqrt(
        ((difference @ data.precision.astype(np.longdouble)) * difference).sum(axis=1)
    )
    return root


def _near(data: _Data, row: int, count: int) -> NDArray[np.int64]:
    """Numbers of the ``count`` nearest by differences in float64, rising: more than are asked for, in no sure order."""
    difference = data.x[row].astype(np.float64) - data.y.astype(np.float64)
    squares = ((difference @ data.precision.astype(np.float64)) * difference).sum(axis=1)
    if count >= len(squares):
        return np.arange(len(squares))
    return np.sort(np.argpartition(squares, count)[:count])


def _gate(data: _Data, found: NDArray[Any] | _Product) -> Verdict:
    """Largest relative error on a sample of pairs."""
    if isinstance(found, _Product):
        return Verdict(passed=True, detail="no distances")
    rng = np.random.default_rng(2)
    rows, columns = rng.integers(len(data.x), size=400), rng.integers(len(data.y), size=400)
    error = float(np.max(np.abs(found[rows, columns] / _exact(data, rows, columns) - 1)))
    bound = _BOUND[str(data.x.dtype)]
    return Verdict(error <= bound, f"relative error {error:.1e} (at most {bound:.0e})")


def _pairs(shape: tuple[int, int, int], dtype: str, offset: float, wanted: float) -> Problem:
    n, m, d = shape
    scipy = [Contender("scipy", _scipy, ("scipy",))] if wanted else []
    return Problem(
        f"{n}x{m} d={d} {dtype}" + (f" offset {offset:g}, separation 1e-3" if offset else ""),
        lambda: _load(n, m, d, dtype, offset),
        [
            Contender(OURS, _ours),
            Contender("fastclust out=", _ours_into, remark="into an array that is there"),
            *scipy,
            Contender(_DOT, _dot, ("numpy",), _DOT_REMARK),
        ],
        _gate,
        flops=2.0 * n * m * d,
        ceilings={"sgemm-square": {}} if dtype == "float32" else {},
        targets=[Target(f"{wanted:g}x SciPy", wanted, peer="scipy")] if wanted else [],
        rounds=3 if wanted else 7,
    )


def _ours_nearest(k: int) -> Callable[[_Data], Callable[[], Any]]:
    def prepare(data: _Data) -> Callable[[], Any]:
        import fastclust as fc

        metric = fc.MahalanobisMetric.from_precision(data.precision)
        return lambda: metric.kneighbors(data.x, data.y, k)

    return prepare


def _sklearn_nearest(data: _Data) -> Callable[[], Any]:
    from sklearn.metrics import pairwise_distances_argmin_min

    from fastclust import MahalanobisMetric

    metric = MahalanobisMetric.from_precision(data.precision)

    def search() -> tuple[NDArray[Any], NDArray[Any]]:
        indices, distances = pairwise_distances_argmin_min(metric.transform(data.x), metric.transform(data.y))
        return distances[:, None], indices[:, None]

    return search


def _sklearn_top(data: _Data) -> Callable[[], Any]:
    from sklearn.neighbors import NearestNeighbors

    from fastclust import MahalanobisMetric

    metric = MahalanobisMetric.from_precision(data.precision)

    def search() -> tuple[NDArray[Any], NDArray[Any]]:
        index = NearestNeighbors(n_neighbors=_NEIGHBORS, algorithm="brute").fit(metric.transform(data.y))
        distances, indices = index.kneighbors(metric.transform(data.x))
        return distances, indices

    return search


def _nearest_gate(data: _Data, found: Any) -> Verdict:
    """Numbers and distances of a sample of rows, against differences in long double."""
    if isinstance(found, _Product):
        return Verdict(passed=True, detail="no neighbours")
    distances, indices = found
    k = indices.shape[1]
    rows = np.random.default_rng(3).choice(len(data.x), _CHECKED, replace=False)
    wrong, error = 0, 0.0
    for row in rows:
        near = _near(data, row, 4 * k + 20)
        exact = _exact(data, np.full(len(near), row), near)
        first = np.argsort(exact, kind="stable")[:k]
        wrong += int((near[first] != indices[row]).sum())
        error = max(error, float(np.max(np.abs(distances[row] / exact[first] - 1))))
    bound = _BOUND[str(data.x.dtype)]
    return Verdict(
        wrong == 0 and error <= bound,
        f"{wrong} wrong of {len(rows) * k}, relative error {error:.1e} (at most {bound:.0e})",
    )


def _nearest(shape: tuple[int, int, int], dtype: str, k: int) -> Problem:
    n, m, d = shape
    peer = _sklearn_nearest if k == 1 else _sklearn_top
    return Problem(
        f"nearest {k} of {m}, {n} rows d={d} {dtype}",
        lambda: _load(n, m, d, dtype, 0),
        [
            Contender(OURS, _ours_nearest(k)),
            Contender("sklearn", peer, ("scikit-learn",), "on rows whitened in the same call"),
            Contender(_DOT, _dot, ("numpy",), _DOT_REMARK),
        ],
        _nearest_gate,
        flops=2.0 * n * m * d,
        targets=[Target("1.2x the plain product", 1.2, peer=_DOT)],
        rounds=9,
    )


@dataclass
class _Mixture:
    x: NDArray[Any]
    means: NDArray[Any]
    #: Upper triangles W_k with W_k W_k^T the precision matrix, as scikit-learn keeps them.
    factors: NDArray[Any]


def _load_mixture(n: int, k: int, d: int, dtype: str) -> _Mixture:
    from fastclust_kernels.mahalanobis import factor_of_covariance

    rng = np.random.default_rng(0)
    covariances = [np.linalg.inv(datasets.precision_with_condition(d, 1e2, seed)) for seed in range(k)]
    factors = np.stack([factor_of_covariance((matrix + matrix.T) / 2) for matrix in covariances])
    return _Mixture(datasets.iid(n, d, dtype), rng.standard_normal((k, d)).astype(dtype), factors.astype(dtype))


def _log_determinants(data: _Mixture) -> NDArray[Any]:
    found: NDArray[Any] = np.log(np.einsum("kdd->kd", data.factors)).sum(axis=1)
    return found


def _ours_step(data: _Mixture) -> Callable[[], NDArray[Any]]:
    import fastclust as fc

    def step() -> NDArray[Any]:
        squares = fc.mahalanobis_to_components(data.x, data.means, factors=data.factors, squared=True)
        constant = (-0.5 * data.x.shape[1] * np.log(2 * np.pi) + _log_determinants(data)).astype(data.x.dtype)
        squares *= data.x.dtype.type(-0.5)
        squares += constant
        return squares

    return step


def _sklearn_step(data: _Mixture) -> Callable[[], NDArray[Any]]:
    from sklearn.mixture._gaussian_mixture import _estimate_log_gaussian_prob

    return lambda: _estimate_log_gaussian_prob(data.x, data.means, data.factors, "full")


def _step_gate(data: _Mixture, found: NDArray[Any]) -> Verdict:
    """Log-densities of a sample of rows, against an einsum in long double."""
    rows = np.random.default_rng(4).choice(len(data.x), 100, replace=False)
    difference = data.x[rows, None].astype(np.longdouble) - data.means.astype(np.longdouble)
    mapped = np.einsum("nkd,kdr->nkr", difference, data.factors.astype(np.longdouble))
    exact = -0.5 * ((mapped**2).sum(axis=2) + data.x.shape[1] * np.log(2 * np.pi)) + _log_determinants(data)
    error = float(np.max(np.abs(found[rows] / exact - 1)))
    bound = 1e-12 if data.x.dtype == np.float64 else 1e-5
    return Verdict(error <= bound and found.dtype == data.x.dtype, f"relative error {error:.1e} (at most {bound:.0e})")


def _step(shape: tuple[int, int, int], dtype: str, wanted: float) -> Problem:
    n, k, d = shape
    return Problem(
        f"mixture E-step {n} rows, {k} components d={d} {dtype}",
        lambda: _load_mixture(n, k, d, dtype),
        [Contender(OURS, _ours_step), Contender("sklearn", _sklearn_step, ("scikit-learn",))],
        _step_gate,
        flops=2.0 * n * k * d * d,
        targets=[Target(f"{wanted:g}x scikit-learn's {dtype}", wanted, peer="sklearn")],
        rounds=7,
    )


def _problems(size: str) -> Sequence[Problem]:
    small = size == "small"
    n, m = (2_000, 1_000) if small else (10_000, 2_000)
    # SciPy takes 8 us a pair.
    fewer = (1_000, 500) if small else (n, m)
    rows = 5_000 if small else 50_000
    return [
        _pairs((*fewer, 64), "float64", 0, 100),
        _pairs((*fewer, 128), "float64", 0, 250),
        _pairs((n, m, 64), "float32", 0, 0),
        _pairs((n, m, 64), "float64", 1000, 0),
        _pairs((n, m, 64), "float32", 1000, 0),
        *(_nearest((n, m, d), dtype, k) for k in (1, _NEIGHBORS) for dtype in _BOUND for d in (64, 128)),
        *(_step((rows, k, d), "float64", 5) for k, d in ((16, 64), (8, 128))),
        *(_step((rows, k, d), "float32", 2) for k, d in ((16, 64), (8, 128))),
    ]


CASE = Case(
    "mahalanobis", "all pairs [n, m], the nearest of m, and rows to components with a covariance each", _problems
)
