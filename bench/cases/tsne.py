"""t-SNE: the optimiser from the same affinities, start and schedule; and whole maps as each library makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import datasets
from bench.cases import tsne_others
from bench.cases.map_quality import (
    accuracy_10nn,
    force_error,
    kl_divergence,
    preservation_10nn,
    sampled_preservation,
)
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fastclust import NeighborGraph

__all__ = ["CASE"]

_PERPLEXITY = 30
_NEIGHBORS = 90
_EARLY = 250
_KL_SLACK = 1.005
_ACCURACY_SLACK = 0.005


@dataclass
class _Data:
    graph: NeighborGraph
    start: NDArray[np.float64]
    labels: NDArray[np.int64]
    affinities: Any
    iterations: int
    #: Of openTSNE, which runs first: divergence and accuracy.
    reference: tuple[float, float] | None = None
    #: Of the map judged last.
    figures: dict[str, float] | None = None


def _load(rows: NDArray[np.float32], labels: NDArray[np.int64], iterations: int) -> _Data:
    import fastclust as fc

    graph = fc.knn_graph(rows, n_neighbors=_NEIGHBORS)
    start = rows[:, :2].astype(np.float64)
    start *= 1e-4 / start[:, 0].std()
    return _Data(graph, start, labels, _affinities(graph), iterations)


def _affinities(graph: NeighborGraph) -> Any:
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    neighbors = PrecomputedNeighbors(graph.indices, graph.distances)
    return PerplexityBasedNN(perplexity=_PERPLEXITY, knn_index=neighbors, n_jobs=-1)


def _ours(data: _Data) -> Callable[[], NDArray[Any]]:
    from fastclust.maps.optimizer import Optimizer, Phase

    def fit(early: int, late: int) -> NDArray[Any]:
        schedule = [Phase(early, 12, 0.5), Phase(late, 1, 0.8)]
        return Optimizer(data.affinities.P, data.start, schedule=schedule).run().points

    fit(2, 2)  # compiles
    return lambda: fit(_EARLY, data.iterations - _EARLY)


def _opentsne(data: _Data) -> Callable[[], NDArray[Any]]:
    from openTSNE import TSNEEmbedding

    def fit() -> NDArray[Any]:
        embedding = TSNEEmbedding(data.start.copy(), data.affinities, n_jobs=-1, random_state=0)
        embedding = embedding.optimize(_EARLY, exaggeration=12, momentum=0.5, learning_rate="auto")
        embedding = embedding.optimize(data.iterations - _EARLY, momentum=0.8, learning_rate="auto")
        return np.asarray(embedding)

    return fit


def _ours_whole(data: _Data) -> Callable[[], NDArray[Any]]:
    import fastclust as fc

    def fit(rows: NDArray[np.float32], iterations: int) -> NDArray[Any]:
        model = fc.TSNE(perplexity=_PERPLEXITY, max_iter=iterations, random_state=0)
        return model.fit(rows).embedding_

    rows = datasets.fashion_mnist(len(data.start))
    fit(rows[:11_000], 4)  # compiles, and reads the libraries
    return lambda: fit(rows, data.iterations)


def _opentsne_whole(data: _Data) -> Callable[[], NDArray[Any]]:
    import openTSNE
    from sklearn.decomposition import PCA

    rows = datasets.fashion_mnist(len(data.start))

    def fit() -> NDArray[Any]:
        reduced = PCA(50, random_state=0).fit_transform(rows)
        model = openTSNE.TSNE(perplexity=_PERPLEXITY, n_jobs=-1, random_state=0)
        return np.asarray(model.fit(reduced))

    return fit


def _gate(data: _Data, Y: NDArray[Any]) -> Verdict:
    kl, accuracy = kl_divergence(data.affinities.P, Y), accuracy_10nn(data.labels, Y)
    data.figures = {
        "kl": kl,
        "accuracy_10nn": accuracy,
        "preservation_10nn": preservation_10nn(data.graph.indices, Y),
        "force_error": force_error(Y),
    }
    detail = ", ".join(f"{name} {value:.4f}" for name, value in data.figures.items())
    if data.reference is None:
        data.reference = kl, accuracy
    passed = kl <= _KL_SLACK * data.reference[0] and accuracy >= data.reference[1] - _ACCURACY_SLACK
    return Verdict(passed, f"{detail}; the first has KL {data.reference[0]:.4f}, accuracy {data.reference[1]:.4f}")


def _problem(n: int, iterations: int) -> Problem:
    return Problem(
        f"optimiser, fashion-mnist pca-50 n={n}, {iterations} iterations",
        lambda: _load(datasets.fashion_mnist_pca(n, 50), datasets.fashion_mnist_labels(n), iterations),
        [Contender("opentsne", _opentsne, ("openTSNE",)), Contender(OURS, _ours)],
        _gate,
        figures=lambda data, _Y: data.figures,
        targets=[
            Target("6x openTSNE", 6.0, peer="opentsne"),
            Target("9x openTSNE (moonshot)", 9.0, peer="opentsne"),
            Target("force error at most 1 %", 0.01, figure="force_error", at_most=True),
        ],
        once=True,
    )


def _whole(n: int) -> Problem:
    return Problem(
        f"whole map, fashion-mnist {n}x784, 750 iterations",
        lambda: _load(datasets.fashion_mnist_pca(n, 50), datasets.fashion_mnist_labels(n), 750),
        [
            Contender("opentsne", _opentsne_whole, ("openTSNE",), "its defaults, after scikit-learn's PCA"),
            Contender(OURS, _ours_whole),
        ],
        _gate,
        figures=lambda data, _Y: data.figures,
        targets=[
            Target("5x openTSNE", 5.0, peer="opentsne"),
            Target("at most 25 s", 25, figure="median", at_most=True),
        ],
        once=True,
    )


@dataclass
class _Rows:
    rows: NDArray[np.float32]
    labels: NDArray[np.int64]


def _ours_from_rows(data: _Rows) -> Callable[[], NDArray[Any]]:
    import fastclust as fc

    def fit(rows: NDArray[np.float32], iterations: int) -> NDArray[Any]:
        return fc.TSNE(perplexity=_PERPLEXITY, max_iter=iterations, random_state=0).fit(rows).embedding_

    fit(data.rows[:21_000], 4)  # compiles, and reads the libraries
    return lambda: fit(data.rows, 750)


def _judge_many(data: _Rows, Y: NDArray[Any]) -> dict[str, float]:
    return {
        "accuracy_10nn": accuracy_10nn(data.labels, Y),
        "preservation_10nn": sampled_preservation(data.rows, Y),
        "force_error": force_error(Y),
    }


def _million(n: int) -> Problem:
    # Judging takes minutes: once, for the gate and for the table.
    judged: list[dict[str, float]] = []

    def gate(data: _Rows, Y: NDArray[Any]) -> Verdict:
        judged[:] = [_judge_many(data, Y)]
        (found,) = judged
        passed = found["accuracy_10nn"] >= 0.8 and found["force_error"] <= 0.01
        return Verdict(passed, ", ".join(f"{name} {value:.4f}" for name, value in found.items()))

    return Problem(
        f"whole map, fashion-mnist pca-50 tiled with noise n={n}, 750 iterations",
        lambda: _Rows(*datasets.fashion_mnist_tiled(n)),
        [Contender(OURS, _ours_from_rows, remark="openTSNE would take more than 20 minutes")],
        gate,
        figures=lambda *_: judged[0],
        targets=[
            Target("at most 300 s", 300, figure="median", at_most=True),
            Target("at most 6 GB", 6e9, figure="peak_memory_bytes", at_most=True),
        ],
        once=True,
    )


def _problems(size: str) -> Sequence[Problem]:
    if size == "small":
        return [_problem(4_000, 500), *tsne_others.problems(size)]
    return [
        _problem(20_000, 750),
        _problem(70_000, 750),
        _whole(70_000),
        _million(1_000_000),
        *tsne_others.problems(size),
    ]


CASE = Case("tsne", "t-SNE layouts of Fashion-MNIST", _problems)
