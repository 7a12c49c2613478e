"""t-SNE beyond the plane and beyond the fit: few rows, maps in space, and new rows on a fitted map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import datasets
from bench.cases.map_quality import accuracy_10nn, kl_divergence, preservation_10nn
from bench.model import OURS, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["problems"]

_PERPLEXITY = 30
_NEIGHBORS = 90
#: Schedules differ: a map may be so much worse in divergence, and in accuracy, than the first contender's.
_KL_SLACK, _ACCURACY_SLACK = 1.02, 0.02


@dataclass
class _Data:
    rows: NDArray[np.float32]
    labels: NDArray[np.int64]
    P: Any
    indices: NDArray[Any]
    components: int
    iterations: int
    reference: tuple[float, float] | None = None
    figures: dict[str, float] | None = None

    @property
    def start(self) -> NDArray[np.float32]:
        start = self.rows[:, : self.components]
        return np.ascontiguousarray(start * (1e-4 / start[:, 0].std()))


def _load(n: int, components: int, iterations: int) -> _Data:
    import fastclust as fc
    from fastclust_kernels.tsne.affinities import conditional, joint

    rows, labels = datasets.fashion_mnist_pca(n, 50), datasets.fashion_mnist_labels(n)
    graph = fc.knn_graph(rows, _NEIGHBORS, index="exact")
    P = joint(graph.indices, conditional(graph.distances, _PERPLEXITY))
    return _Data(rows, labels, P, graph.indices, components, iterations)


def _scikit_learn(data: _Data) -> Callable[[], NDArray[Any]]:
    from sklearn.manifold import TSNE

    model = TSNE(
        data.components, perplexity=_PERPLEXITY, max_iter=data.iterations, init=data.start, method="barnes_hut"
    )
    return lambda: model.fit_transform(data.rows)


def _opentsne(data: _Data) -> Callable[[], NDArray[Any]]:
    import openTSNE

    def fit() -> NDArray[Any]:
        model = openTSNE.TSNE(
            data.components,
            perplexity=_PERPLEXITY,
            n_iter=data.iterations - 250,
            initialization=data.start.astype(np.float64),
            negative_gradient_method="bh" if data.components == 3 else "auto",
            n_jobs=-1,
            random_state=0,
        )
        return np.asarray(model.fit(data.rows))

    return fit


def _torchdr(data: _Data) -> Callable[[], NDArray[Any]]:
    import torch
    from torchdr import TSNE

    def fit() -> NDArray[Any]:
        model = TSNE(
            perplexity=_PERPLEXITY,
            n_components=data.components,
            max_iter=data.iterations,
            init=torch.from_numpy(data.start),
            device="cpu",
            random_state=0,
        )
        return np.asarray(model.fit_transform(data.rows))

    return fit


def _ours(data: _Data) -> Callable[[], NDArray[Any]]:
    import fastclust as fc

    def fit(iterations: int) -> NDArray[Any]:
        model = fc.TSNE(
            data.components, perplexity=_PERPLEXITY, max_iter=iterations, initialization=data.start, random_state=0
        )
        return model.fit(data.rows).embedding_

    fit(4)  # compiles
    return lambda: fit(data.iterations)


def _gate(data: _Data, Y: NDArray[Any]) -> Verdict:
    kl, accuracy = kl_divergence(data.P, Y), accuracy_10nn(data.labels, Y)
    data.figures = {"kl": kl, "accuracy_10nn": accuracy, "preservation_10nn": preservation_10nn(data.indices, Y)}
    if data.reference is None:
        data.reference = kl, accuracy
    passed = kl <= _KL_SLACK * data.reference[0] and accuracy >= data.reference[1] - _ACCURACY_SLACK
    return Verdict(passed, ", ".join(f"{name} {value:.4f}" for name, value in data.figures.items()))


def _whole(n: int, components: int, iterations: int) -> Problem:
    peers = [
        Contender("scikit-learn", _scikit_learn, ("scikit-learn",), "Barnes-Hut"),
        Contender("opentsne", _opentsne, ("openTSNE",), "Barnes-Hut" if components == 3 else ""),
    ]
    if components == 2:
        peers.append(Contender("torchdr", _torchdr, ("torchdr",), "all pairs, on the CPU"))
    return Problem(
        f"whole map in {components} dimensions, fashion-mnist pca-50 n={n}, {iterations} iterations",
        lambda: _load(n, components, iterations),
        [*peers, Contender(OURS, _ours)],
        _gate,
        figures=lambda data, _Y: data.figures,
        once=True,
    )


@dataclass
class _Placed:
    fitted: Any
    rows: NDArray[np.float32]
    new: NDArray[np.float32]
    labels: NDArray[np.int64]
    new_labels: NDArray[np.int64]
    #: int64 [m, 10]: nearest fitted rows of each new one.
    near: NDArray[np.int64]
    figures: dict[str, float] | None = None


def _fit_and_leave(n: int, m: int, *, first: bool) -> _Placed:
    import fastclust as fc
    from fastclust_kernels.tsne import repulsion

    everything, labels = datasets.fashion_mnist(n + m), datasets.fashion_mnist_labels(n + m)
    if first:
        everything, labels = np.roll(everything, -m, axis=0), np.roll(labels, -m)
    mean = everything[:n].mean(axis=0)
    _, _, axes = np.linalg.svd(everything[: min(n, 20_000)] - mean, full_matrices=False)
    reduced = np.ascontiguousarray((everything - mean) @ axes[:50].T, np.float32)
    rows, new = reduced[:n], reduced[n:]
    repulsion(np.zeros((10, 2), np.float32))
    model = fc.TSNE(perplexity=_PERPLEXITY, random_state=0).fit(rows)
    near = fc.NeighborIndex(index="exact").fit(rows).kneighbors(new, 10, return_distance=False)
    return _Placed(model, rows, new, labels[:n], labels[n:], near)


def _ours_placed(data: _Placed) -> Callable[[], NDArray[Any]]:
    before = data.fitted.embedding_.tobytes()
    data.fitted.transform(data.new[:10])

    def place() -> NDArray[Any]:
        placed: NDArray[Any] = data.fitted.transform(data.new)
        if data.fitted.embedding_.tobytes() != before:
            raise AssertionError("the fitted map moved")
        return placed

    return place


def _opentsne_placed(data: _Placed) -> Callable[[], NDArray[Any]]:
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN

    affinities = PerplexityBasedNN(data.rows, perplexity=_PERPLEXITY, n_jobs=-1, random_state=0)
    fitted = TSNEEmbedding(data.fitted.embedding_.astype(np.float64), affinities, n_jobs=-1, random_state=0)
    return lambda: np.asarray(fitted.transform(data.new))


def _gate_placed(data: _Placed, Y: NDArray[Any]) -> Verdict:
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=10).fit(data.fitted.embedding_).kneighbors(Y, return_distance=False)
    votes = np.zeros((len(Y), int(data.labels.max()) + 1), np.int32)
    np.add.at(votes, (np.arange(len(Y))[:, None], data.labels[found]), 1)
    data.figures = {
        "accuracy_10nn": float((votes.argmax(axis=1) == data.new_labels).mean()),
        "preservation_10nn": float((data.near[:, :, None] == found[:, None]).any(axis=2).mean()),
    }
    detail = ", ".join(f"{name} {value:.4f}" for name, value in data.figures.items())
    return Verdict(bool(np.isfinite(Y).all()), detail)


def _placed(n: int, m: int, *, first: bool = False) -> Problem:
    """``first``: the new rows are the first ones, which the rule was not made on, in place of the last ones."""
    return Problem(
        f"{m} new rows{', the first ones,' if first else ''} on a map of {n}, fashion-mnist pca-50",
        lambda: _fit_and_leave(n, m, first=first),
        [Contender("opentsne", _opentsne_placed, ("openTSNE",), "on our map"), Contender(OURS, _ours_placed)],
        _gate_placed,
        figures=lambda data, _Y: data.figures,
        targets=[
            Target("preservation at least .40", 0.40, figure="preservation_10nn"),
            Target("accuracy at least .83", 0.83, figure="accuracy_10nn"),
            Target("at most 1 s", 1.0, figure="median", at_most=True),
        ],
        once=True,
    )


def problems(size: str) -> Sequence[Problem]:
    """Return the problems of a size."""
    if size == "small":
        return [_whole(1_000, 2, 300), _whole(1_000, 3, 300), _placed(4_000, 500)]
    return [_whole(4_000, 2, 750), _whole(4_000, 3, 500), _placed(60_000, 10_000), _placed(60_000, 10_000, first=True)]
