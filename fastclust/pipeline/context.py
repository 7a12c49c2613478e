"""What the steps of a run share: the source, the parameters, and the results so far, read when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from fastclust.artifacts import load_array
from fastclust.pipeline.folder import key_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust.cluster import KMeans
    from fastclust.data import Labels
    from fastclust.learning import SelfTaughtLearner
    from fastclust.metric import MahalanobisMetric
    from fastclust.neighbors import NeighborGraph
    from fastclust.pipeline.params import RunParams
    from fastclust.pipeline.source import RunSource

__all__ = ["RunContext", "Trainer"]

_DEFAULT_CLUSTERS = 10
_Loaded = TypeVar("_Loaded")


class Trainer(Protocol):
    """What trains in place of this process, such as a cluster; it keeps its state in the folder it is given."""

    @property
    def about(self) -> dict[str, Any]:
        """What is learned depends on, such as the number of workers."""

    def fit(self, learner: SelfTaughtLearner, rows: Any, checkpoint: Path) -> None:
        """Do what ``learner.fit(rows)`` does, with its shapes and dtypes: rows ``[n, d]``, or images ``[n, h, w, c]``.

        State is kept in the folder ``checkpoint``, from which it goes on. Raises what ``fit`` does, and
        UnavailableError where what trains is lost.
        """

    def fine_tune(self, learner: SelfTaughtLearner, rows: Any, labels: NDArray[Any], checkpoint: Path) -> None:
        """Do what ``learner.fine_tune(rows, labels)`` does, with its shapes and dtypes: integers ``[n]`` for labels.

        State is kept in the folder ``checkpoint``, from which it goes on. Raises what ``fine_tune`` does, and
        UnavailableError where what trains is lost.
        """


@dataclass
class RunContext:
    """What the steps share. Arrays are read from the folder when they are first asked for."""

    path: Path
    source: RunSource
    params: RunParams
    #: The labels to train on, -1 where unknown, and their names.
    training: Labels | None
    #: Whether "learn" is one of the steps; without it the features are the embedding.
    learned: bool
    #: What trains; None: this process.
    trainer: Trainer | None = None
    #: Notes of the steps done so far, by name.
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    _cache: dict[str, Any] = field(default_factory=dict)

    @property
    def train_key(self) -> str:
        """Hash of the labels to train on; empty without any."""
        found = self.training
        return "" if found is None else key_of(found.labels.tolist(), found.names)

    @property
    def features(self) -> NDArray[np.float32]:
        """float32 [n, f]."""
        return self._once("features", lambda: load_array(self.path / "features.npy"))

    @property
    def embedding(self) -> NDArray[np.float32]:
        """float32 [n, e]: what is clustered and mapped."""
        return (
            self._once("embedding", lambda: load_array(self.path / "embedding.npy")) if self.learned else self.features
        )

    @property
    def metric(self) -> str | MahalanobisMetric:
        """The one metric of the run, fitted where it has to be."""
        if self.params.metric != "mahalanobis":
            return self.params.metric
        from fastclust.metric import MahalanobisMetric

        return self._once("metric", lambda: MahalanobisMetric.load(self.path / "metric.safetensors"))

    @property
    def graph(self) -> NeighborGraph:
        """The one neighbour graph of the run, with its rows."""
        from fastclust.neighbors import NeighborGraph

        def load() -> NeighborGraph:
            graph = NeighborGraph.load(self.path / "graph.safetensors")
            graph.source = self.embedding
            return graph

        return self._once("graph", load)

    @property
    def clusters(self) -> KMeans:
        """The fitted k-means."""
        from fastclust.cluster import KMeans

        return self._once("clusters", lambda: KMeans.load(self.path / "kmeans.safetensors"))

    @property
    def positions(self) -> NDArray[np.float32]:
        """float32 [n, 2]: the map."""
        return self._once("map", lambda: load_array(self.path / "map.npy"))

    @property
    def n_clusters(self) -> int:
        """As asked; chosen from a curve, where "auto" was; else as many as there are distinct labels; else 10.

        Of fewer than 20 rows without labels, every other one could have a cluster.
        """
        if self.params.n_clusters == "auto":
            return int(self.notes["clusters"]["n_clusters"])
        if isinstance(self.params.n_clusters, int):
            return self.params.n_clusters
        labels = self.source.labels
        known = 0 if labels is None else len(np.unique(labels[labels >= 0]))
        return known or min(_DEFAULT_CLUSTERS, max(1, self.source.n_rows // 2))

    def _once(self, name: str, load: Callable[[], _Loaded]) -> _Loaded:
        if name not in self._cache:
            self._cache[name] = load()
        loaded: _Loaded = self._cache[name]
        return loaded
