"""Clusters along the manifold, beside scikit-learn's spectral clustering; and a million rows."""

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

_CLUSTERS, _NEIGHBORS = 10, 15
#: NMI may be so much below that of the first contender; and at least this for a million rows.
_SLACK, _LEAST = 0.02, 0.55
#: "Minutes".
_SECONDS = 600.0


@dataclass
class _Data:
    rows: NDArray[np.float32]
    labels: NDArray[np.int64]
    #: NMI of the first contender.
    reference: float | None = None


def _ours(damping: float) -> Callable[[_Data], Callable[[], NDArray[Any]]]:
    def prepare(data: _Data) -> Callable[[], NDArray[Any]]:
        import fastclust as fc

        def fit(rows: NDArray[np.float32]) -> NDArray[Any]:
            model = fc.ManifoldKMeans(_CLUSTERS, n_neighbors=_NEIGHBORS, damping=damping, random_state=0)
            return model.fit(rows).labels_

        fit(data.rows[:: max(1, len(data.rows) // 2_000)])  # compiles, and reads the libraries
        return lambda: fit(data.rows)

    return prepare


def _scikit_learn(data: _Data) -> Callable[[], NDArray[Any]]:
    from sklearn.cluster import SpectralClustering

    unit = data.rows / np.linalg.norm(data.rows, axis=1, keepdims=True)
    model = SpectralClustering(
        _CLUSTERS, affinity="nearest_neighbors", n_neighbors=_NEIGHBORS, random_state=0, n_jobs=-1
    )
    return lambda: np.asarray(model.fit_predict(unit))


def _figures(data: _Data, labels: NDArray[Any]) -> dict[str, float]:
    from sklearn.metrics import normalized_mutual_info_score

    from fastclust.evaluation import clustering_accuracy

    return {
        "nmi": float(normalized_mutual_info_score(data.labels, labels)),
        "accuracy": float(clustering_accuracy(data.labels, labels)),
    }


def _gate(data: _Data, labels: NDArray[Any]) -> Verdict:
    found = _figures(data, labels)
    if data.reference is None:
        data.reference = found["nmi"]
    least = min(data.reference - _SLACK, 1) if len(data.rows) < 100_000 else _LEAST
    detail = f"NMI {found['nmi']:.3f} (at least {least:.3f}), accuracy {found['accuracy']:.3f}"
    return Verdict(found["nmi"] >= least, detail)


def _beside(n: int) -> Problem:
    return Problem(
        f"spectral clusters, fashion-mnist pca {n}x50 k={_CLUSTERS}",
        lambda: _Data(datasets.fashion_mnist_pca(n, 50), datasets.fashion_mnist_labels(n)),
        [
            Contender("scikit-learn", _scikit_learn, ("scikit-learn",), "SpectralClustering, rows of length 1"),
            Contender(OURS, _ours(0.0)),
        ],
        _gate,
        figures=_figures,
        targets=[Target("manifold: as fast as SpectralClustering", 1.0, peer="scikit-learn")],
        rounds=3,
    )


def _many(n: int) -> Problem:
    return Problem(
        f"manifold clusters, fashion-mnist pca tiled with noise {n}x50 k={_CLUSTERS}",
        lambda: _Data(*datasets.fashion_mnist_tiled(n)),
        [Contender(OURS, _ours(0.95), remark="damping .95; graph included")],
        _gate,
        figures=_figures,
        targets=[Target("manifold: a million rows in 10 minutes", _SECONDS, figure="median", at_most=True)],
        once=True,
    )


def _problems(size: str) -> Sequence[Problem]:
    return [_beside(2_000)] if size == "small" else [_beside(10_000), _many(1_000_000)]


CASE = Case("kmeans-manifold", "k-means on the spectral embedding of a neighbour graph", _problems)
