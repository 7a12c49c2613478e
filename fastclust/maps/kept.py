"""Neighbours kept beside a checkpoint: in parts, and whole where another search might find others."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.neighbors import NeighborGraph, knn_graph
from fastclust.neighbors.metrics import metric_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["forget", "graph_of"]

#: Indices that find the same neighbours each time.
_REPEATABLE = ("auto", "exact", "cells", "flat", "ivf", "ivfpq", "nndescent")
#: Behind the checkpoint's name: the folder of what was found of the graph so far.
_PARTS = ".graph-parts"


def graph_of(
    rows: NDArray[Any], k: int, metric: Any, index: str, checkpoint: str | os.PathLike[str] | None
) -> NeighborGraph:
    """Find each row's ``k`` neighbours, or read those that an interrupted fit of the same rows left."""
    if checkpoint is None:
        return knn_graph(rows, k, metric, index)
    parts = Path(f"{os.fspath(checkpoint)}{_PARTS}")
    if index in _REPEATABLE:
        return knn_graph(rows, k, metric, index, checkpoint=parts)
    kind = metric_of(metric)
    digest = hashlib.blake2b(repr((kind.name, k, index, rows.shape)).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(kind.enter(rows)).data)
    path = Path(f"{os.fspath(checkpoint)}.{digest.hexdigest()}.graph")
    if path.exists():
        graph = NeighborGraph.load(path)
        graph.source = rows
        return graph
    graph = knn_graph(rows, k, metric, index, checkpoint=parts)
    graph.save(path)
    return graph


def forget(checkpoint: str | os.PathLike[str] | None) -> None:
    """Remove the neighbours that were kept: the map is drawn."""
    if checkpoint is not None:
        file = Path(checkpoint)
        for path in file.parent.glob(f"{file.name}.{'?' * 16}.graph"):
            path.unlink()
        shutil.rmtree(file.with_name(f"{file.name}{_PARTS}"), ignore_errors=True)
