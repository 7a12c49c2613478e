"""t-SNE with openTSNE's and scikit-learn's conventions, from our one neighbour graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastclust.data.source import ArrayRows, RowSource
from fastclust.errors import InputError, PreconditionError
from fastclust.maps.affinities import affinities_of, neighbors_wanted, perplexities
from fastclust.maps.components import components_wanted, principal_components
from fastclust.maps.kept import forget, graph_of
from fastclust.maps.optimizer import Finished, Optimizer, Phase, threads
from fastclust.maps.parameters import check_parameters, choose_backend, fixed_rows
from fastclust.maps.placing import place
from fastclust.maps.recorder import Recorder
from fastclust.maps.starts import start_of
from fastclust.neighbors import NeighborGraph, NeighborIndex
from fastclust.neighbors.metrics import rows_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["TSNE"]

_EARLY = 12.0
_PLACED_BY = 10
#: Rows, and new ones, beyond both of which new ones are placed by an inverted file: below, comparing all pairs is
#: quicker, or takes no longer than making the index.
_MANY, _MANY_NEW = 20_000, 1000
#: One list in so many is looked into: that finds .998 of the 10 neighbours of 10,000 images among 60,000, more quickly
#: than comparing all pairs.
_SHARE = 20
#: Rows below which one thread is as quick as several, and much quicker where others use the cores too: 0.3 s against
#: 6.6 for 300 iterations of 1,000 rows on two cores that are busy.
_FEW = 1000
#: Squares of distances between larger numbers may overflow in float32.
_LARGEST = 1e17


class TSNE(BaseEstimator):
    """t-distributed stochastic neighbour embedding (van der Maaten and Hinton, 2008; Poličar et al., 2024).

    Parameters
    ----------
    n_components
        Dimensions of the map: 1, 2 or 3.
    perplexity
        Effective number of neighbours; 3 x perplexity neighbours are used. Several: the mean of their affinities, all
        over 3 x the largest neighbours (openTSNE's ``Multiscale``).
    early_exaggeration
        Factor on the attraction in the first iterations; "auto" is 12.
    max_iter
        All iterations, the early ones included.
    learning_rate
        "auto" is n / exaggeration in each phase (Belkina et al., 2019).
    initialization
        "auto" (PCA where there are rows, else spectral), "pca", "spectral", "random", or an array
        ``[n, n_components]``.
    metric
        "euclidean", "cosine" or a fitted MahalanobisMetric; ignored for a graph, which has one.
    neighbors
        The ``index`` of :func:`fastclust.knn_graph`.
    backend
        "cpu": our own optimiser; "gpu": the same by torch on a GPU; "opentsne" for openTSNE's. "auto" is "cpu", unless
        there is a GPU on whose kind our forces have a recorded pass against the oracle.
    callbacks
        A function ``(iteration, divergence, points)`` or several; if one returns true, the work stops. The divergence
        is computed for them and is without exaggeration.
    random_state
        Seed; the same seed gives the same bits, with "cpu" whatever the number of threads. With a checkpoint it must be
        given.
    verbose
        Print a line at the end.
    early_exaggeration_iter
        How many iterations are early ones; at most ``max_iter`` of them are made.
    late_exaggeration
        Factor on the attraction after the early iterations; above 1, groups are drawn closer together.
    callbacks_every_iters
        Iterations between two calls of the callbacks.
    fixed
        Rows that stay where ``initialization`` (an array) puts them: a boolean ``[n]`` or row numbers. Not with
        "opentsne".
    checkpoint
        A file to keep the state in, every 50 iterations if a second has passed, and at the end: 28 bytes a row in two
        dimensions. If it is there, the fit goes on from it, to the same bits as without the interruption. Until the
        end, neighbours that another search might not find again (``neighbors="hnsw"``, say) are kept beside it. Not
        with "opentsne".
    affinities
        "perplexity": Gaussian in the distance; "uniform": the same for all neighbours (openTSNE's ``Uniform`` with
        ``symmetrize="max"``), whatever the perplexity.
    k_neighbors
        Neighbours of each row that are used; "auto" is 3 x perplexity, or 15 for uniform affinities.
    pca_components
        The rows are mapped to so many principal components before neighbours are looked for; None for none. "auto" is
        50 for more than 10,000 rows of more than 100 columns with the Euclidean metric, else None.
    frames
        Keep so many maps on the way, the first and the last included, for an animation. Not with "opentsne".
    divergence_every
        Keep the divergence every so many iterations; each costs about two. Not with "opentsne".
    n_jobs
        Threads: None for as many as Numba has, but one below 1,000 rows, where more wait for each other longer than
        they work; -1 for all cores. With "opentsne" None is 1, for with more its sums
        depend on how threads meet.
    device
        For "gpu": a torch device; None is "cuda". "cpu" runs the same arithmetic without a GPU, slowly.

    Attributes
    ----------
    embedding_
        float32 ``[n, n_components]``.
    kl_divergence_
        At the end, without exaggeration.
    n_iter_, backend_, initialization_, pca_components_, n_features_in_
        Iterations, and what ran; ``pca_components_`` is None where the rows were taken as they are.
    resumed_from_
        Iteration at which a checkpoint was taken up; 0 where there was none.
    frames_, frame_iterations_
        float32 ``[frames, n, n_components]`` and int64 ``[frames]``; None and empty where none are wanted.
    divergences_
        float64 ``[m, 2]``: iteration and divergence, where wanted.
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        perplexity: float | Sequence[float] = 30,
        early_exaggeration: float | str = "auto",
        max_iter: int = 750,
        learning_rate: float | str = "auto",
        initialization: Any = "auto",
        metric: Any = "euclidean",
        neighbors: str = "auto",
        backend: str = "auto",
        callbacks: Any = None,
        random_state: int | None = None,
        verbose: int = 0,
        early_exaggeration_iter: int = 250,
        late_exaggeration: float = 1.0,
        callbacks_every_iters: int = 10,
        fixed: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        affinities: str = "perplexity",
        k_neighbors: int | str = "auto",
        pca_components: int | str | None = "auto",
        frames: int | None = None,
        divergence_every: int | None = None,
        n_jobs: int | None = None,
        device: Any = None,
    ) -> None:
        self.n_components = n_components
        self.perplexity = perplexity
        self.early_exaggeration = early_exaggeration
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.initialization = initialization
        self.metric = metric
        self.neighbors = neighbors
        self.backend = backend
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose
        self.early_exaggeration_iter = early_exaggeration_iter
        self.late_exaggeration = late_exaggeration
        self.callbacks_every_iters = callbacks_every_iters
        self.fixed = fixed
        self.checkpoint = checkpoint
        self.affinities = affinities
        self.k_neighbors = k_neighbors
        self.pca_components = pca_components
        self.frames = frames
        self.divergence_every = divergence_every
        self.n_jobs = n_jobs
        self.device = device

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Draw the map of the rows ``X`` ``[n, d]`` or of a :class:`~fastclust.NeighborGraph`.

        Raises
        ------
        InputError, InputTypeError
            NaN or Inf, wrong shapes, a perplexity that needs more neighbours than there are; before any work. A
            checkpoint of another fit.
        BackendError
            The backend asked for does not exist in this version, or cannot do this.
        OperationCancelledError
            A progress listener asked to stop.
        """
        check_parameters(self)
        backend, device = choose_backend(self)
        graph = self._graph_of(X)
        seen = Recorder(self.max_iter, self.frames, self.divergence_every)
        done = self._run_opentsne(graph) if backend == "opentsne" else self._run(graph, seen, device)
        self.embedding_ = done.points
        self.kl_divergence_ = done.divergence
        self.n_iter_ = done.iterations
        self.backend_, self.resumed_from_ = backend, done.resumed_from
        forget(self.checkpoint)
        self.frames_, self.frame_iterations_ = seen.frames, seen.frame_iterations
        self.divergences_ = seen.divergences
        self._source, self._graph_metric = graph.source, graph.metric
        if self.verbose:
            print(f"TSNE: {self.n_iter_} iterations, KL divergence {self.kl_divergence_:.4f}")  # noqa: T201 - asked for
        return self

    def _run(self, graph: NeighborGraph, seen: Recorder, device: Any) -> Finished:
        with threads(1 if self.n_jobs is None and graph.n_rows < _FEW else self.n_jobs):
            P = affinities_of(self, graph)
            optimizer = Optimizer(
                P,
                self._start(graph, P),
                schedule=self._schedule(),
                learning_rate=self.learning_rate,
                fixed=fixed_rows(self.fixed, graph.n_rows),
                checkpoint=self.checkpoint,
                device=device,
            )
            return optimizer.run(self._callbacks(), self.callbacks_every_iters, seen)

    def _run_opentsne(self, graph: NeighborGraph) -> Finished:
        from fastclust.maps import opentsne

        theirs = opentsne.affinities_of(graph, None if self.affinities == "uniform" else perplexities(self))
        return opentsne.optimize(
            theirs,
            self._start(graph, theirs.P),
            schedule=self._schedule(),
            learning_rate=self.learning_rate,
            seed=self.random_state,
            callback=self._callbacks(),
            callback_every=self.callbacks_every_iters,
            n_jobs=self.n_jobs or 1,
        )

    def _start(self, graph: NeighborGraph, P: Any) -> NDArray[np.float64]:
        start, self.initialization_ = start_of(self.initialization, graph, P, self.n_components, self.random_state)
        return start

    def _schedule(self) -> list[Phase]:
        early = _EARLY if self.early_exaggeration == "auto" else float(self.early_exaggeration)
        first = min(self.early_exaggeration_iter, self.max_iter)
        return [Phase(first, early, 0.5), Phase(self.max_iter - first, float(self.late_exaggeration), 0.8)]

    def _callbacks(self) -> Callable[[int, float, NDArray[Any]], bool] | None:
        if self.callbacks is None:
            return None
        several = [self.callbacks] if callable(self.callbacks) else list(self.callbacks)

        def call(iteration: int, divergence: float, points: NDArray[Any]) -> bool:
            # All are called, whichever wants to stop.
            answers = [bool(each(iteration, divergence, points)) for each in several]
            return any(answers)

        return call

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Draw the map of ``X`` ``[n, d]`` or a graph; return its points, float32 ``[n, n_components]``.

        Raises what :meth:`fit` raises, InputError first.
        """
        points: NDArray[np.float32] = self.fit(X, y).embedding_
        return points

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Place new rows ``[m, d]`` on the fitted map, which does not move: where their 10 neighbours are theirs there.

        More of :func:`fastclust.maps.placing.place`. Where ``neighbors`` is "auto" the 10 are exact, unless more than
        1000 rows are placed among more than 20,000: then an inverted file finds nearly all. Returns float32
        ``[m, n_components]``.

        Raises
        ------
        PreconditionError
            The map was fitted from a graph without its rows.
        """
        check_is_fitted(self, "embedding_")
        if self._source is None:
            raise PreconditionError("The map was fitted from a graph without its rows: new rows cannot be placed.")
        rows = rows_of(X)
        if self._components is not None:
            if rows.shape[1] != self.n_features_in_:
                raise InputError("X", f"{rows.shape[1]} columns", f"{self.n_features_in_}, as in fit")
            rows = self._components.project(ArrayRows(rows))
        k = min(_PLACED_BY, len(self._source))
        metric = self.metric if self._graph_metric == "mahalanobis" else self._graph_metric
        n, index = len(self._source), self.neighbors
        options: dict[str, Any] = {}
        if index == "auto" and n > _MANY and len(rows) > _MANY_NEW:
            # Few lists: an index for one search should not take longer to make than to ask.
            index, options = f"IVF{int(n**0.5)},Flat", {"share": _SHARE}
        elif index == "auto":
            index = "exact"
        near = NeighborIndex(metric, index)._build(self._source, **options)  # noqa: SLF001 - these rows are checked
        distances, found = near.kneighbors(rows, k)
        return place(self.embedding_, found, distances)

    def _graph_of(self, X: Any) -> NeighborGraph:
        if isinstance(X, NeighborGraph):
            if isinstance(self.pca_components, int):
                raise InputError("pca_components", self.pca_components, '"auto" or None, for a graph in place of rows')
            k = neighbors_wanted(self, X.n_rows)
            self._components, self.pca_components_ = None, None
            self.n_features_in_ = None if X.source is None else X.source.shape[1]
            return X.head(k)
        source = X if isinstance(X, RowSource) else ArrayRows(rows_of(X))
        n, self.n_features_in_ = source.shape
        k = neighbors_wanted(self, n)
        self.pca_components_ = components_wanted(self.pca_components, self.metric, source.shape)
        self._components = None
        if self.pca_components_ is not None:
            self._components = principal_components(source, self.pca_components_, self.random_state)
        rows = source.read() if self._components is None else self._components.project(source)
        largest = max(abs(float(rows.max())), abs(float(rows.min())))
        if largest > _LARGEST:
            raise InputError("X", f"numbers up to {largest:.3g}", f"numbers up to {_LARGEST:g}", "Scale them.")
        return graph_of(rows, k, self.metric, self.neighbors, self.checkpoint)
