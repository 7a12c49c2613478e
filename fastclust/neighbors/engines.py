"""Engines behind an index: our exact search, FAISS, and pynndescent. Each finds candidates; distances come after."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.errors import BackendError
from fastclust.neighbors.exact import brute_force
from fastclust.neighbors.packages import faiss, pynndescent

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Engine", "choose_name", "make"]

_SEED = 0
_BLOCK = 4096
#: Lists of an inverted file that a query looks into: of 4,000 over a million rows of 50 columns, 24 find .993 of 90
#: neighbours, and 64 find .9997 in 2.5 times as long.
_MOST_PROBES = 32
#: Where there are fewer lists than that needs, one list in so many is looked into.
_SHARE = 8
#: Iterations and rows a list of the k-means that makes the lists; FAISS's own 25 and 256 take longer than the search.
_TRAINING = 10, 64
#: Up to here exact search takes a few seconds on two cores, whatever d; the top-k costs more than the products.
_EXACT_ROWS = 20_000


class Engine(ABC):
    """Finds neighbours among rows; with ``inner``, the largest inner products."""

    exact = False

    def __init__(self, rows: NDArray[Any], *, inner: bool, k: int) -> None:
        self.rows = rows
        self.inner = inner
        self.k = k
        #: Queries so far that float32 scores could not settle; of use where all rows are compared.
        self.recomputed = 0

    @abstractmethod
    def search(self, queries: NDArray[Any], k: int) -> NDArray[np.int64]:
        """Row numbers ``[q, k]``, -1 where fewer were found."""

    def graph(self, k: int) -> NDArray[np.int64]:
        """Neighbours of the rows themselves, in which each row may appear as its own: ``[n, k]``."""
        return self.search(self.rows, k)


class _Exact(Engine):
    exact = True

    def search(self, queries: NDArray[Any], k: int) -> NDArray[np.int64]:
        found = brute_force(self.rows, queries, k, inner=self.inner)
        self.recomputed += found.recomputed
        return found.numbers


class _Faiss(Engine):
    """FAISS by factory string."""

    def __init__(self, rows: NDArray[np.float32], *, inner: bool, k: int, factory: str, share: int) -> None:
        super().__init__(rows, inner=inner, k=k)
        module = faiss()
        metric = module.METRIC_INNER_PRODUCT if inner else module.METRIC_L2
        try:
            self._index = module.index_factory(rows.shape[1], factory, metric)
        except RuntimeError as error:
            raise BackendError(f"index={factory!r}: FAISS cannot make it: {str(error).splitlines()[-1]}") from error
        self.exact = factory == "Flat"
        inverted = module.try_extract_index_ivf(self._index)
        if inverted is not None:
            inverted.nprobe = max(8, min(_MOST_PROBES, inverted.nlist // share))
            inverted.cp.seed = _SEED
            inverted.cp.niter, inverted.cp.max_points_per_centroid = _TRAINING
        if not self._index.is_trained:
            progress.report("neighbors", 0, 1, "training the index")
            self._index.train(rows)
        for start in range(0, len(rows), 16 * _BLOCK):
            self._index.add(rows[start : start + 16 * _BLOCK])
            progress.report("neighbors", 0.2 * start / len(rows), 1, "filling the index")
        if hasattr(self._index, "hnsw"):
            self._index.hnsw.efSearch = max(96, k + 32)
        if hasattr(self._index, "nsg"):
            self._index.nsg.search_L = max(96, k + 32)

    def search(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        out = np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries), _BLOCK):
            part = np.ascontiguousarray(queries[start : start + _BLOCK])
            out[start : start + len(part)] = self._index.search(part, k)[1]
            progress.report("neighbors", 0.2 + 0.8 * (start + len(part)) / len(queries), 1, "searching")
        return out


class _Descent(Engine):
    """pynndescent: builds the graph of the rows themselves."""

    def __init__(self, rows: NDArray[np.float32], *, inner: bool, k: int) -> None:
        super().__init__(rows, inner=inner, k=k)
        if inner:
            raise BackendError('index="nndescent" has no inner product. Allowed with it: euclidean, cosine.')
        progress.report("neighbors", 0, 1, "nearest-neighbour descent")
        # One job: with more, the result depends on how threads happen to meet.
        self._index = pynndescent().NNDescent(rows, n_neighbors=max(k, 15), random_state=_SEED, n_jobs=1)

    def search(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self._index.query(queries, k=k)[0].astype(np.int64)
        return found

    def graph(self, k: int) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self._index.neighbor_graph[0][:, :k].astype(np.int64)
        return found


def choose_name(index: str, n: int) -> str:
    """Resolve "auto": exact where that is quick, an inverted file beyond, whose result does not depend on threads."""
    if index != "auto":
        return index
    return "exact" if n <= _EXACT_ROWS else "ivf"


def make(name: str, rows: NDArray[Any], *, inner: bool, k: int, share: int = _SHARE) -> Engine:
    """Build the engine called ``name``: exact, flat, ivf, ivfpq, hnsw, nsg, nndescent or a FAISS factory string.

    Of few lists a query looks into one in ``share``, but no fewer than 8.
    """
    lists = max(1, min(int(4 * np.sqrt(len(rows))), len(rows) // 39 or 1))
    if name == "exact":
        return _Exact(rows, inner=inner, k=k)
    if name == "nndescent":
        return _Descent(rows, inner=inner, k=k)
    pieces = max(piece for piece in range(1, min(rows.shape[1], 32) + 1) if rows.shape[1] % piece == 0)
    factories = {
        "flat": "Flat",
        "ivf": f"IVF{lists},Flat",
        "ivfpq": f"IVF{lists},PQ{pieces}",
        "hnsw": "HNSW16,Flat",
        "nsg": "NSG32,Flat",
    }
    return _Faiss(rows, inner=inner, k=k, factory=factories.get(name, name), share=share)
