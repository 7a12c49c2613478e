"""All-pairs Mahalanobis distances beside SciPy's, gated by exact differences in extended precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import datasets
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["CASE"]

_BOUND = {"float64": 1e-12, "float32": 2e-6}


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


def _scipy(data: _Data) -> Callable[[], NDArray[Any]]:
    from scipy.spatial.distance import cdist

    return lambda: cdist(data.x, data.y, "mahalanobis", VI=data.precision)


def _gate(data: _Data, distances: NDArray[Any]) -> Verdict:
    """Largest relative error on a sample of pairs, against exact differences in long double from the given inputs."""
    rng = np.random.default_rng(2)
    rows, columns = rng.integers(len(data.x), size=400), rng.integers(len(data.y), size=400)
    difference = data.x[rows].astype(np.longdouble) - data.y[columns].astype(np.longdouble)
    squared = ((difference @ data.precision.astype(np.longdouble)) * difference).sum(axis=1)
    error = float(np.max(np.abs(distances[rows, columns] / np.sqrt(squared) - 1)))
    bound = _BOUND[str(data.x.dtype)]
    return Verdict(error <= bound, f"relative error {error:.1e} (at most {bound:.0e})")


def _problem(shape: tuple[int, int, int], dtype: str, offset: float, wanted: float) -> Problem:
    n, m, d = shape
    return Problem(
        f"{n}x{m} d={d} {dtype}" + (f" offset {offset:g}, separation 1e-3" if offset else ""),
        lambda: _load(n, m, d, dtype, offset),
        [Contender(OURS, _ours), Contender("scipy", _scipy, ("scipy",))],
        _gate,
        flops=2.0 * n * m * d,
        ceilings={"sgemm-square": {}} if dtype == "float32" else {},
        targets=[Target(f"{wanted:g}x SciPy", wanted, peer="scipy")] if wanted else [],
        rounds=3,
    )


def _problems(size: str) -> Sequence[Problem]:
    n, m = (2_000, 1_000) if size == "small" else (10_000, 2_000)
    return [
        _problem((n, m, 64), "float64", 0, 100),
        _problem((n, m, 128), "float64", 0, 250),
        _problem((n, m, 64), "float32", 0, 0),
        _problem((n, m, 64), "float64", 1000, 0),
        _problem((n, m, 64), "float32", 1000, 0),
    ]


CASE = Case("mahalanobis", "all-pairs distances, [n, m]", _problems)
