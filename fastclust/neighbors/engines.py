"""Engines behind an index: our exact search and our cells, FAISS, and pynndescent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.errors import BackendError
from fastclust.neighbors.cells import Cells
from fastclust.neighbors.engine import Engine
from fastclust.neighbors.exact import brute_force
from fastclust.neighbors.gpu import BACKENDS, ExactThere, behind_transforms, choose_name_there, moved_to_gpu
from fastclust.neighbors.packages import faiss, pynndescent

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["choose_name", "make"]

_SEED = 0
_BLOCK = 4096
#: Lists of an inverted file that a query looks into: of 4,000 over a million rows of 50 columns, 24 find .993 of 90
#: neighbours, and 64 find .9997 in 2.5 times as long.
_MOST_PROBES = 32
#: Iterations and rows a list of the k-means that makes the lists; FAISS's own 25 and 256 take longer than the search.
_TRAINING = 10, 64
#: Up to here exact search takes a few seconds on two cores, whatever d; the top-k costs more than the products.
_EXACT_ROWS = 20_000


class _Exact(Engine):
    exact = True
    # In parts each pair of rows is compared twice: 1.45 times the work, which pays where it takes minutes.
    whole_up_to = 1 << 18

    def search(self, queries: NDArray[Any], k: int) -> NDArray[np.int64]:
        found = brute_force(self.rows, queries, k, inner=self.inner)
        self.recomputed += found.recomputed
        return found.numbers


class _Faiss(Engine):
    """FAISS by factory string."""

    def __init__(self, rows: NDArray[np.float32], *, inner: bool, k: int, factory: str, on_gpu: bool = False) -> None:
        super().__init__(rows, inner=inner, k=k)
        module = faiss()
        metric = module.METRIC_INNER_PRODUCT if inner else module.METRIC_L2
        try:
            self._index = module.index_factory(rows.shape[1], factory, metric)
        except RuntimeError as error:
            raise BackendError(f"index={factory!r}: FAISS cannot make it: {str(error).splitlines()[-1]}") from error
        self.exact = factory == "Flat"
        inverted = module.try_extract_index_ivf(self._index)
        if on_gpu:
            self._index, self._held = moved_to_gpu(self._index, factory)
            # What a GPU has of an inverted file has the settings itself, behind what is done to the rows first.
            inverted = behind_transforms(self._index) if inverted is not None else None
        if inverted is not None:
            inverted.nprobe = max(8, min(_MOST_PROBES, inverted.nlist // 8))
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

    whole_up_to = None

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


def choose_name(index: str, n: int, backend: str = "auto", *, inner: bool = False) -> str:
    """Resolve "auto": exact where that is quick, cells beyond; neither depends on threads. Raises BackendError."""
    if backend not in BACKENDS:
        raise BackendError(f"backend={backend!r}: neighbours have no such backend. Allowed: {', '.join(BACKENDS)}.")
    if backend == "gpu":
        return choose_name_there(index, n, inner=inner)
    if index != "auto":
        return index
    return "exact" if n <= _EXACT_ROWS else "cells"


def make(name: str, rows: NDArray[Any], *, inner: bool, k: int, backend: str = "auto") -> Engine:
    """Build the engine called ``name``: one of ours, of FAISS's, nndescent, or by a FAISS factory string.

    "auto" is "cpu": no GPU engine has a recorded pass.
    """
    lists = max(1, min(int(4 * np.sqrt(len(rows))), len(rows) // 39 or 1))
    if name == "exact" and backend == "gpu":
        return ExactThere(rows, inner=inner, k=k)
    if name == "exact":
        return _Exact(rows, inner=inner, k=k)
    if name == "cells":
        return Cells(rows, inner=inner, k=k)
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
    return _Faiss(rows, inner=inner, k=k, factory=factories.get(name, name), on_gpu=backend == "gpu")
