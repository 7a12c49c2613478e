"""t-SNE from the same neighbours, start and schedule; one exact evaluator of the divergence judges all maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import datasets
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fastclust import NeighborGraph

__all__ = ["CASE"]

_PERPLEXITY = 30
_NEIGHBORS = 90
_BLOCK = 1000
_KL_SLACK = 1.005


@dataclass
class _Data:
    graph: NeighborGraph
    start: NDArray[np.float64]
    labels: NDArray[np.int64]
    affinities: Any
    iterations: int
    reference: float = np.inf


def _load(n: int, iterations: int) -> _Data:
    import fastclust as fc

    X = datasets.fashion_mnist_pca(n, 50)
    graph = fc.knn_graph(X, n_neighbors=_NEIGHBORS)
    start = X[:, :2].astype(np.float64)
    start *= 1e-4 / start[:, 0].std()
    data = _Data(graph, start, datasets.fashion_mnist_labels(n), _affinities(graph), iterations)
    data.reference = kl_divergence(data.affinities.P, _opentsne(data)())
    return data


def _affinities(graph: NeighborGraph) -> Any:
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    neighbors = PrecomputedNeighbors(graph.indices, graph.distances)
    return PerplexityBasedNN(perplexity=_PERPLEXITY, knn_index=neighbors, n_jobs=-1)


def kl_divergence(P: Any, Y: NDArray[Any]) -> float:
    """KL(P || Q) with the exact normalisation over all pairs, in float64 blocks."""
    Y = np.asarray(Y, np.float64)
    z = 0.0
    norms = (Y**2).sum(axis=1)
    for start in range(0, len(Y), _BLOCK):
        block = Y[start : start + _BLOCK]
        squared = norms[start : start + _BLOCK, None] + norms - 2 * block @ Y.T
        z += float((1 / (1 + np.maximum(squared, 0))).sum())
    z -= len(Y)
    P = P.tocoo()
    squared = ((Y[P.row] - Y[P.col]) ** 2).sum(axis=1)
    return float((P.data * np.log(np.maximum(P.data, 1e-300) * (1 + squared) * z)).sum())


def _ours(data: _Data) -> Callable[[], NDArray[Any]]:
    import fastclust as fc

    def fit() -> NDArray[Any]:
        model = fc.TSNE(perplexity=_PERPLEXITY, max_iter=data.iterations, initialization=data.start, random_state=0)
        return model.fit(data.graph).embedding_

    return fit


def _opentsne(data: _Data) -> Callable[[], NDArray[Any]]:
    from openTSNE import TSNEEmbedding

    def fit() -> NDArray[Any]:
        early = min(250, data.iterations)
        embedding = TSNEEmbedding(data.start.copy(), data.affinities, n_jobs=-1, random_state=0)
        embedding = embedding.optimize(early, exaggeration=12, momentum=0.5, learning_rate="auto")
        embedding = embedding.optimize(data.iterations - early, momentum=0.8, learning_rate="auto")
        return np.asarray(embedding)

    return fit


def _accuracy(labels: NDArray[np.int64], Y: NDArray[Any]) -> float:
    """Leave-one-out accuracy of 10 nearest neighbours on the map."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=10).fit(Y).kneighbors(return_distance=False)
    votes = np.apply_along_axis(np.bincount, 1, labels[found], minlength=labels.max() + 1)
    return float((votes.argmax(axis=1) == labels).mean())


def _gate(data: _Data, Y: NDArray[Any]) -> Verdict:
    kl = kl_divergence(data.affinities.P, Y)
    return Verdict(kl <= _KL_SLACK * data.reference, f"exact KL {kl:.4f}, openTSNE {data.reference:.4f}")


def _problem(n: int, iterations: int) -> Problem:
    return Problem(
        f"fashion-mnist pca-50 n={n}, {iterations} iterations",
        lambda: _load(n, iterations),
        [
            Contender(OURS, _ours, remark="affinities included"),
            Contender("opentsne", _opentsne, ("openTSNE",), "same affinities, not timed"),
        ],
        _gate,
        figures=lambda data, Y: {
            "kl": kl_divergence(data.affinities.P, Y),
            "accuracy_10nn": _accuracy(data.labels, Y),
        },
        targets=[Target("6x openTSNE", 6.0, peer="opentsne")],
        rounds=1,
    )


def _problems(size: str) -> Sequence[Problem]:
    if size == "small":
        return [_problem(4_000, 500)]
    return [_problem(20_000, 750), _problem(70_000, 750)]


CASE = Case("tsne", "t-SNE layouts of Fashion-MNIST", _problems)
