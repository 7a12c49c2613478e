"""Problems on files that users bring: ``python -m bench run neighbors --data FILE``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench import machine, vectors
from bench.cases.kmeans_cpu import Shape
from bench.model import OURS, Contender, Problem, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from bench.vectors import Vectors

__all__ = ["CASES", "problems"]

_K = 10
#: Below, a search is no answer to the question.
_LEAST = 0.8


class _Answer(NamedTuple):
    #: [q, k]
    indices: NDArray[Any]
    build_seconds: float


def problems(case: str, path: Path, n_clusters: int) -> Sequence[Problem]:
    """The problems of a case on this file or folder. Raises ValueError."""
    return CASES[case](vectors.read(path), path.stem, n_clusters)


def _neighbors(data: Vectors, name: str, _n_clusters: int) -> Sequence[Problem]:
    (n, d), (q, _) = data.train.shape, data.test.shape
    k = min(_K, data.neighbors.shape[1])
    return [
        Problem(
            f"search {name} {n}x{d}, {q} queries, k={k}, {data.metric}",
            lambda: data,
            [
                Contender(OURS, lambda data: _ours("auto", data, k), remark='index="auto"'),
                Contender("exact", lambda data: _ours("exact", data, k), remark='ours with index="exact"'),
                Contender("faiss-flat", lambda data: _faiss(data, k), ("faiss-cpu",)),
                Contender("hnswlib", lambda data: _hnswlib(data, k), ("hnswlib",)),
            ],
            _gate,
            figures=lambda data, answer: {
                "recall": _recall(data, answer.indices),
                "build_seconds": answer.build_seconds,
                "k": float(k),
            },
        )
    ]


def _recall(data: Vectors, indices: NDArray[Any]) -> float:
    """Share of answers as near as the k-th true neighbour, as ann-benchmarks counts."""
    k = indices.shape[1]
    reach = data.distances[:, k - 1] * (1 + 1e-3) + 1e-9
    right = 0
    for query, found, most in zip(data.test, indices, reach, strict=True):
        own = np.unique(found[found >= 0])
        rows = data.train[own].astype(np.float64)
        if data.metric == "cosine":
            lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query.astype(np.float64))
            distances = 1 - rows @ query.astype(np.float64) / np.maximum(lengths, 1e-300)
        else:
            distances = np.linalg.norm(rows - query.astype(np.float64), axis=1)
        right += int((distances <= most).sum())
    return right / indices.size


def _gate(data: Vectors, answer: _Answer) -> Verdict:
    recall = _recall(data, answer.indices)
    said = f"recall@{answer.indices.shape[1]} {recall:.4f} (at least {_LEAST}), built in {answer.build_seconds:.3g} s"
    return Verdict(recall >= _LEAST, said)


def _built(build: Callable[[], Any], search: Callable[[Any], NDArray[Any]]) -> Callable[[], _Answer]:
    """Search again and again in what is built once; the time of that is told beside."""
    start = time.perf_counter()
    index = build()
    seconds = time.perf_counter() - start
    return lambda: _Answer(search(index), seconds)


def _ours(index: str, data: Vectors, k: int) -> Callable[[], _Answer]:
    from fastclust import NeighborIndex

    rows, queries = _floats(data.train), _floats(data.test)
    return _built(
        lambda: NeighborIndex(data.metric, index=index).fit(rows),
        lambda built: built.kneighbors(queries, k, return_distance=False),
    )


def _faiss(data: Vectors, k: int) -> Callable[[], _Answer]:
    import faiss

    rows, queries = _floats(data.train, unit=data.metric == "cosine"), _floats(data.test)
    index = (faiss.IndexFlatIP if data.metric == "cosine" else faiss.IndexFlatL2)(rows.shape[1])
    return _built(lambda: index.add(rows) or index, lambda built: built.search(queries, k)[1])


def _hnswlib(data: Vectors, k: int) -> Callable[[], _Answer]:
    import hnswlib

    rows, queries = _floats(data.train), _floats(data.test)

    def build() -> Any:
        index = hnswlib.Index("cosine" if data.metric == "cosine" else "l2", rows.shape[1])
        index.init_index(len(rows), M=16, ef_construction=200, random_seed=0)
        index.set_num_threads(machine.threads_given())
        index.add_items(rows)
        index.set_ef(max(100, 2 * k))
        return index

    return _built(build, lambda built: built.knn_query(queries, k)[0].astype(np.int64))


def _floats(rows: NDArray[Any], *, unit: bool = False) -> NDArray[np.float32]:
    made = np.ascontiguousarray(rows, np.float32)
    return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-30) if unit else made


def _kmeans(data: Vectors, name: str, n_clusters: int) -> Sequence[Problem]:
    rows = _floats(data.train)
    if n_clusters > len(rows):
        raise ValueError(f"{n_clusters} clusters of {len(rows)} rows")
    shape = Shape(name, lambda: rows, *rows.shape, n_clusters, 30.0)
    return [shape.full_iteration(), shape.fit(1, "own data"), shape.convergence()]


#: By case: what can be made of a file.
CASES: dict[str, Callable[[Vectors, str, int], Sequence[Problem]]] = {"neighbors": _neighbors, "kmeans-cpu": _kmeans}
