"""openTSNE's affinities and optimiser on our neighbour graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.maps.optimizer import Finished

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fastclust.maps.optimizer import Phase
    from fastclust.neighbors import NeighborGraph

__all__ = ["affinities_of", "optimize"]

#: Iterations between two looks at progress. Each costs openTSNE an evaluation of the divergence, so not too often;
#: 10 iterations of 70,000 points take about two seconds, and that is how long a wish to stop may wait.
_EVERY = 10


def affinities_of(graph: NeighborGraph, perplexities: Sequence[float] | None) -> Any:
    """Affinities from all neighbours that the graph holds: of these perplexities, or uniform for None."""
    from openTSNE.affinity import Multiscale, PerplexityBasedNN, Uniform
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    neighbors = PrecomputedNeighbors(graph.indices, graph.distances.astype(np.float64))
    if perplexities is None:
        return Uniform(knn_index=neighbors, symmetrize="max", n_jobs=1, random_state=0)
    if len(perplexities) > 1:
        return Multiscale(perplexities=list(perplexities), knn_index=neighbors, n_jobs=1, random_state=0)
    return PerplexityBasedNN(perplexity=perplexities[0], knn_index=neighbors, n_jobs=1, random_state=0)


def optimize(
    affinities: Any,
    start: NDArray[np.float64],
    *,
    schedule: list[Phase],
    learning_rate: float | str,
    seed: int | None,
    callback: Callable[[int, float, NDArray[Any]], Any] | None,
    callback_every: int,
    n_jobs: int,
) -> Finished:
    """Run the phases, one after the other. What a listener or callback raises stops the work."""
    from openTSNE import TSNEEmbedding

    total = sum(phase.iterations for phase in schedule)
    before = done = 0
    caught: list[BaseException] = []
    asked: list[bool] = []

    def tell(iteration: int, divergence: float, points: Any) -> bool:
        # openTSNE turns what a callback raises into its own error, so it is kept and raised again outside.
        nonlocal done
        done = before + iteration
        try:
            progress.report("tsne", done, total, f"iteration {done}, KL {divergence:.3f}")
            wanted = callback is not None and done % callback_every == 0
            if wanted and callback is not None and callback(done, divergence, np.asarray(points)):
                asked.append(True)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller below
            caught.append(error)
        return bool(caught or asked)

    embedding = TSNEEmbedding(
        start.copy(),
        affinities,
        negative_gradient_method="bh" if len(start) < 2000 or start.shape[1] > 2 else "fft",
        n_jobs=n_jobs,
        random_state=seed,
        callbacks=[tell],
        callbacks_every_iters=min(callback_every, _EVERY),
    )
    for phase in schedule:
        embedding = embedding.optimize(
            phase.iterations,
            exaggeration=phase.exaggeration,
            momentum=phase.momentum,
            learning_rate=learning_rate,
            propagate_exception=False,
        )
        if caught:
            raise caught[0]
        if asked:
            break
        before += phase.iterations
        done = before
    return Finished(np.asarray(embedding, np.float32), float(embedding.kl_divergence), done)
