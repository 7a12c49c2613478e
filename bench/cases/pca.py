"""Principal components of rows in blocks, gated by the variance that the axes hold against a float64 eigensolver."""

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

_SLACK = 1e-4
#: Of scores, relative to the largest: randomized solvers give those of their approximation.
_APART = 2e-2


class _Found(NamedTuple):
    #: [d, k], orthonormal
    axes: NDArray[Any]
    scores: NDArray[Any]


@dataclass
class _Data:
    rows: NDArray[np.float32]
    k: int
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    #: Share of the variance that the k best axes hold.
    best: float


def _load(rows: NDArray[np.float32], k: int) -> _Data:
    exact = rows.astype(np.float64)
    mean = exact.mean(axis=0)
    exact -= mean
    covariance = exact.T @ exact
    values = np.linalg.eigvalsh(covariance)
    return _Data(rows, k, mean, covariance, float(values[-k:].sum() / values.sum()))


def _ours(data: _Data) -> Callable[[], _Found]:
    from fastclust.data import open_rows
    from fastclust.maps.components import principal_components

    def find() -> _Found:
        source = open_rows(data.rows)
        found = principal_components(source, data.k, seed=0)
        return _Found(found.axes, found.project(source))

    return find


def _sklearn(solver: str, data: _Data) -> Callable[[], _Found]:
    from sklearn.decomposition import PCA

    model = PCA(data.k, svd_solver=solver, random_state=0)

    def find() -> _Found:
        scores = model.fit_transform(data.rows)
        return _Found(model.components_.T, scores)

    return find


def _faiss(data: _Data) -> Callable[[], _Found]:
    import faiss

    def find() -> _Found:
        model = faiss.PCAMatrix(data.rows.shape[1], data.k)
        model.max_points_per_d = len(data.rows)  # all rows, as the others
        model.train(data.rows)
        axes = faiss.vector_to_array(model.A).reshape(data.k, -1).T
        return _Found(axes, model.apply_py(data.rows))

    return find


def _gate(data: _Data, found: _Found) -> Verdict:
    axes = np.linalg.qr(found.axes.astype(np.float64))[0]
    held = float(np.trace(axes.T @ data.covariance @ axes) / np.trace(data.covariance))
    sample = slice(0, None, max(1, len(data.rows) // 1000))
    scores = (data.rows[sample] - data.mean) @ found.axes.astype(np.float64)
    apart = float(np.abs(found.scores[sample] - scores).max() / np.abs(scores).max())
    short = 1 - held / data.best
    return Verdict(
        short <= _SLACK and apart <= _APART,
        f"variance {held:.5f}, {short:.1e} below the best (at most {_SLACK:g}); scores off by {apart:.0e}",
    )


def _problem(name: str, rows: Callable[[], NDArray[np.float32]], shape: tuple[int, int], k: int) -> Problem:
    n, d = shape
    peers = {"sklearn-randomized": "randomized", "sklearn-covariance": "covariance_eigh"}
    return Problem(
        f"{name} {n}x{d}, {k} components and all scores",
        lambda: _load(rows(), k),
        [
            Contender(OURS, _ours),
            *(
                Contender(peer, lambda data, solver=solver: _sklearn(solver, data), ("scikit-learn",))
                for peer, solver in peers.items()
            ),
            Contender("faiss", _faiss, ("faiss-cpu",)),
        ],
        _gate,
        flops=2.0 * n * d * (d + k),
        ceilings={"sgemm-square": {}},
        targets=[
            Target("pca: never slower than the fastest peer", 1.0, peers=(*peers, "faiss")),
        ],
        rounds=5,
    )


def _problems(size: str) -> Sequence[Problem]:
    n = 10_000 if size == "small" else 70_000
    problems = [_problem("fashion-mnist", lambda: datasets.fashion_mnist(n), (n, 784), 50)]
    if size == "full":
        problems.append(_problem("iid", lambda: datasets.iid(n, 256), (n, 256), 64))
    return problems


CASE = Case("pca", "principal components, and the rows on them", _problems)
