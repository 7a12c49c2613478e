"""The graph of nearest neighbours of a whole data set."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastclust.artifacts import load_model, save_model
from fastclust.errors import InputError
from fastclust.neighbors import parts
from fastclust.neighbors.engines import choose_name, make
from fastclust.neighbors.exact import brute_force, true_distances
from fastclust.neighbors.metrics import metric_of, rows_of

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from fastclust.neighbors.engine import Engine

__all__ = ["NeighborGraph", "knn_graph"]

_KIND = "neighbor_graph"
_RECALL_SAMPLE = 1000


class NeighborGraph:
    """Neighbours of every row, nearest first, the row itself left out.

    Attributes
    ----------
    indices
        int64 ``[n, k]``.
    distances
        float32 ``[n, k]``, rising along each row: Euclidean (not squared), 1 - cos, Mahalanobis, or negative inner
        products.
    metric, index_
        Name of the metric, and what found the neighbours.
    recall
        |found and true| / k on a sample of rows; 1.0 for an exact graph.
    source
        The rows ``[n, d]``; None for a graph that was loaded.
    recomputed_
        How many rows of an exact graph float32 scores left open, and float64 settled; None where that is not known.
    """

    def __init__(
        self,
        indices: NDArray[np.int64],
        distances: NDArray[Any],
        *,
        metric: str = "euclidean",
        index: str = "given",
        recall: float | None = None,
        source: NDArray[Any] | None = None,
        recomputed: int | None = None,
    ) -> None:
        if indices.ndim != 2 or indices.shape != distances.shape:
            raise InputError("distances", f"shape {distances.shape}", f"that of indices, {indices.shape}")
        self.indices = indices
        self.distances = distances
        self.metric = metric
        self.index_ = index
        self.recall = recall
        self.source = source
        self.recomputed_ = recomputed

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.indices)

    @property
    def n_neighbors(self) -> int:
        """Neighbours a row."""
        return int(self.indices.shape[1])

    def head(self, k: int) -> NeighborGraph:
        """Return the graph of the k nearest. Raises InputError if it holds fewer; the message has the k needed."""
        if not 1 <= k <= self.n_neighbors:
            raise InputError(
                "n_neighbors",
                k,
                f"1..{self.n_neighbors}, what this graph holds",
                f"Build it with n_neighbors={k} or more.",
            )
        return NeighborGraph(
            self.indices[:, :k],
            self.distances[:, :k],
            metric=self.metric,
            index=self.index_,
            recall=self.recall,
            source=self.source,
            recomputed=self.recomputed_,
        )

    def to_csr(self, mode: str = "distance") -> Any:
        """Return a SciPy CSR matrix ``[n, n]`` of distances or, with "connectivity", of ones."""
        from scipy.sparse import csr_matrix

        if mode not in ("distance", "connectivity"):
            raise InputError("mode", repr(mode), "distance, connectivity")
        values = self.distances.ravel() if mode == "distance" else np.ones(self.indices.size, self.distances.dtype)
        pointers = np.arange(0, self.indices.size + 1, self.n_neighbors)
        return csr_matrix((values, self.indices.ravel(), pointers), shape=(self.n_rows, self.n_rows))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph, without its rows, as one safetensors file."""
        params = {"metric": self.metric, "index": self.index_, "recall": self.recall}
        save_model(path, _KIND, params, {"indices": self.indices, "distances": self.distances})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote. Raises NotFoundError, DataError."""
        params, tensors = load_model(path, _KIND)
        return cls(
            tensors["indices"],
            tensors["distances"],
            metric=params["metric"],
            index=params["index"],
            recall=params["recall"],
        )


def knn_graph(
    X: Any,
    n_neighbors: int = 15,
    metric: Any = "euclidean",
    index: str = "auto",
    backend: str = "auto",
    *,
    checkpoint: str | os.PathLike[str] | None = None,
) -> NeighborGraph:
    """Find the nearest neighbours of every row.

    Parameters
    ----------
    X
        ``[n, d]``.
    n_neighbors
        k, below n.
    metric
        "euclidean", "cosine", "inner_product" or a fitted MahalanobisMetric (rows are mapped by it first).
    index
        "exact" and "cells" (our own), "flat", "ivf", "ivfpq", "hnsw", "nsg" (FAISS), "nndescent" (pynndescent), a FAISS
        factory string, or "auto": "exact" up to 20,000 rows, "cells" beyond. Neither depends on the number of threads.
        "cells" looks where .995 of the true neighbours lie, beyond 200,000 rows .98; the graph's ``recall`` says how
        many it found.
    backend
        "auto", "cpu" or "gpu": FAISS's GPU indexes (faiss-gpu), and for "exact" our own kernels; "auto" is then "exact"
        up to 20,000 rows and "ivf" beyond. "auto" takes no GPU.
    checkpoint
        A folder in which each part of 65,536 rows is kept once it was searched; a call with the same rows and
        parameters reads what is there and goes on, to the same bits where the index gives the same bits twice
        ("hnsw" and "nsg" do not). Parts of other searches are left alone; remove the folder when the graph is saved.
        The index is built anew; "nndescent" finds all neighbours as it is built, and has no parts; "exact", whose
        pairs are then compared twice, has them beyond 262,144 rows.

    Raises
    ------
    InputError, InputTypeError
        k not below n, NaN or Inf, wrong shapes.
    BackendError, MissingPackageError
        The index asked for cannot be made.
    """
    rows = rows_of(X)
    n = len(rows)
    if isinstance(n_neighbors, bool) or not isinstance(n_neighbors, int | np.integer):
        raise InputError("n_neighbors", repr(n_neighbors), "an integer")
    if not 1 <= n_neighbors < n:
        raise InputError("n_neighbors", n_neighbors, f"1..{n - 1}, one less than the number of rows")
    k, kind = int(n_neighbors), metric_of(metric)
    name = choose_name(index, n, backend, inner=kind.inner)
    inside = kind.enter(rows, wide=name == "exact")
    engine = make(name, inside, inner=kind.inner, k=k + 1, backend=backend)
    if checkpoint is None or engine.whole_up_to is None or n <= engine.whole_up_to:
        found, distances = _nearest(engine, k, slice(0, n))
    else:
        asked = (name, backend, kind.inner, k)
        found, distances = parts.in_parts(checkpoint, asked, engine, functools.partial(_nearest, engine, k))
    recall = 1.0 if engine.exact else _recall(inside, distances, inner=kind.inner)
    finished = kind.finish(distances).astype(np.float32)
    recomputed = engine.recomputed if name == "exact" else None
    return NeighborGraph(
        found, finished, metric=kind.name, index=name, recall=recall, source=rows, recomputed=recomputed
    )


def _nearest(engine: Engine, k: int, part: slice) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers and distances ``[m, k]`` of a part of the rows, in order: as the engine ranks them, before the metric."""
    inside, inner = engine.rows, engine.inner
    whole = part == slice(0, len(inside))
    # Of all rows at once a product serves two of them.
    mine = inside if whole else inside[part]
    own = np.arange(part.start, part.stop)
    found = _without_self(engine.graph(k + 1) if whole else engine.search(mine, k + 1), k, own)
    short = np.flatnonzero((found < 0).any(axis=1))
    if len(short):
        # Lists that an inverted file did not visit left gaps: these few rows are searched in full.
        found[short] = _without_self(brute_force(inside, mine[short], k + 1, inner=inner).numbers, k, own[short])
    distances = true_distances(inside, mine, found, inner=inner)
    _put_in_order(found, distances)
    return found, distances


def _put_in_order(found: NDArray[np.int64], distances: NDArray[np.float64]) -> None:
    """Sort each row by distance, ties by number: those that are not sorted yet, for most of them are."""
    rows = np.flatnonzero(~(distances[:, :-1] < distances[:, 1:]).all(axis=1))
    order = np.lexsort((found[rows], distances[rows]), axis=1)
    for each in (found, distances):
        each[rows] = np.take_along_axis(each[rows], order, axis=1)


def _without_self(found: NDArray[np.int64], k: int, own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take the row itself out of its ``k + 1`` neighbours or, where duplicates crowded it out, the last one."""
    itself = found == own[:, None]
    place = np.where(itself.any(axis=1), itself.argmax(axis=1), k)
    keep = np.arange(k + 1) != place[:, None]
    rest: NDArray[np.int64] = found[keep].reshape(len(found), k)
    return rest


def _recall(rows: NDArray[np.float32], distances: NDArray[np.float64], *, inner: bool) -> float:
    """|found and true| / k on a sample: a row as near as the k-th true one counts as true."""
    n, k = distances.shape
    sample = np.sort(np.random.default_rng(0).choice(n, min(n, _RECALL_SAMPLE), replace=False))
    true = _without_self(brute_force(rows, rows[sample], k + 1, inner=inner, step="recall").numbers, k, sample)
    reach = true_distances(rows, rows[sample], true, inner=inner)[:, -1:]
    slack = 1e-6 * np.abs(reach)
    return float((distances[sample] <= reach + slack).mean())
