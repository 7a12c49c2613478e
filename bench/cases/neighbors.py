"""Neighbour graphs, gated by their recall against brute force in float64 on a sample of rows."""

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

_SAMPLE = 300


@dataclass
class _Data:
    rows: NDArray[np.float32]
    k: int
    #: Rows of the sample, and the k-th smallest true distance of each, squared.
    sample: NDArray[np.int64]
    reach: NDArray[np.float64]


def _load(rows: Callable[[], NDArray[np.float32]], k: int) -> _Data:
    X = np.ascontiguousarray(rows())
    sample = np.sort(np.random.default_rng(3).choice(len(X), _SAMPLE, replace=False))
    squared = np.stack([_squared(X, row) for row in sample])
    squared[np.arange(_SAMPLE), sample] = np.inf
    return _Data(X, k, sample, np.partition(squared, k - 1, axis=1)[:, k - 1])


def _squared(X: NDArray[np.float32], row: int) -> NDArray[np.float64]:
    difference = X - X[row]
    return np.einsum("ij,ij->i", difference, difference, dtype=np.float64)


def _recall(data: _Data, indices: NDArray[Any]) -> float:
    """|found and true| / k, self excluded; a row as near as the k-th true one counts as true."""
    right = 0
    for place, row in enumerate(data.sample):
        found = np.unique(indices[row])
        found = found[(found >= 0) & (found != row)]
        difference = (data.rows[found] - data.rows[row]).astype(np.float64)
        right += int(((difference**2).sum(axis=1) <= data.reach[place] * (1 + 1e-5)).sum())
    return right / (_SAMPLE * data.k)


def _ours(index: str, data: _Data) -> Callable[[], NDArray[Any]]:
    import fastclust as fc

    return lambda: fc.knn_graph(data.rows, n_neighbors=data.k, index=index).indices


def _faiss_flat(data: _Data) -> Callable[[], NDArray[Any]]:
    import faiss

    def search() -> NDArray[Any]:
        index = faiss.IndexFlatL2(data.rows.shape[1])
        index.add(data.rows)
        return index.search(data.rows, data.k + 1)[1]

    return search


def _faiss_ivf(data: _Data) -> Callable[[], NDArray[Any]]:
    import faiss

    n, d = data.rows.shape

    def search() -> NDArray[Any]:
        index = faiss.index_factory(d, f"IVF{int(4 * n**0.5)},Flat")
        index.nprobe, index.cp.niter, index.cp.max_points_per_centroid = 32, 10, 64
        index.train(data.rows)
        index.add(data.rows)
        return index.search(data.rows, data.k + 1)[1]

    return search


def _nndescent(data: _Data) -> Callable[[], NDArray[Any]]:
    from pynndescent import NNDescent

    return lambda: NNDescent(data.rows, n_neighbors=data.k + 1, random_state=0).neighbor_graph[0]


def _sklearn(data: _Data) -> Callable[[], NDArray[Any]]:
    from sklearn.neighbors import NearestNeighbors

    return lambda: NearestNeighbors(n_neighbors=data.k, algorithm="brute").fit(data.rows).kneighbors()[1]


def _hnswlib(data: _Data) -> Callable[[], NDArray[Any]]:
    import hnswlib

    def search() -> NDArray[Any]:
        index = hnswlib.Index("l2", data.rows.shape[1])
        index.init_index(len(data.rows), M=16, ef_construction=100, random_seed=0)
        index.add_items(data.rows)
        index.set_ef(max(96, data.k + 10))
        return index.knn_query(data.rows, data.k + 1)[0]

    return search


def _problem(
    name: str,
    rows: Callable[[], NDArray[np.float32]],
    shape: tuple[int, int],
    k: int,
    *,
    exact: bool,
    targets: Sequence[Target],
) -> Problem:
    n, d = shape
    least = 0.9999 if exact else 0.98
    index = "exact" if exact else "auto"
    exact_peers = [
        Contender("faiss-flat", _faiss_flat, ("faiss-cpu",)),
        Contender("sklearn-brute", _sklearn, ("scikit-learn",)),
    ]
    approximate_peers = [
        Contender("faiss-ivf", _faiss_ivf, ("faiss-cpu",), "4 sqrt(n) lists, 32 looked into"),
        Contender("pynndescent", _nndescent, ("pynndescent",)),
        Contender("hnswlib", _hnswlib, ("hnswlib",)),
    ]

    def gate(data: _Data, indices: NDArray[Any]) -> Verdict:
        recall = _recall(data, indices)
        return Verdict(recall >= least, f"recall@{k} {recall:.4f} (at least {least})")

    return Problem(
        f"{name} {n}x{d} k={k} {index}",
        lambda: _load(rows, k),
        [
            Contender(OURS, lambda data: _ours(index, data), remark="recall measured inside" if not exact else ""),
            *(exact_peers if exact else approximate_peers),
        ],
        gate,
        flops=2.0 * n * n * d if exact else 0.0,
        ceilings={"sgemm-square": {}} if exact else {},
        figures=lambda data, indices: {"recall": _recall(data, indices)},
        targets=targets,
        rounds=2,
    )


def _problems(size: str) -> Sequence[Problem]:
    n = 10_000 if size == "small" else 70_000
    exact = [Target("3x FAISS Flat", 3.0, peer="faiss-flat")]
    near = [Target("as fast as pynndescent", 1.0, peer="pynndescent")]
    fashion = lambda: datasets.fashion_mnist(n)  # noqa: E731 - a name for a short recipe
    reduced = lambda: datasets.fashion_mnist_pca(n, 50)  # noqa: E731 - the same
    problems = [
        _problem("fashion-mnist", fashion, (n, 784), 15, exact=True, targets=exact),
        _problem("fashion-mnist", fashion, (n, 784), 15, exact=False, targets=near),
        _problem("fashion-mnist pca", reduced, (n, 50), 90, exact=False, targets=[]),
    ]
    if size == "full":
        many = lambda: datasets.clustered(1_000_000, 128, 1000)  # noqa: E731 - the same
        problems.append(_problem("clustered", many, (1_000_000, 128), 15, exact=False, targets=near))
    return problems


CASE = Case("neighbors", "k nearest neighbours of every row", _problems)
