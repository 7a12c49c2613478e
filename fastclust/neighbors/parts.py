"""Parts of a graph of neighbours, kept in a folder as they are found: a search that was broken off goes on there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import __version__, progress
from fastclust.artifacts import load_model, save_model

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastclust.neighbors.engine import Engine

__all__ = ["ROWS", "in_parts"]

#: Rows of a part: as many as "cells" keeps track of together, so that a part has the bits of the whole.
ROWS = 1 << 16
_KIND = "neighbor_graph_part"


def in_parts(
    folder: str | os.PathLike[str],
    asked: tuple[Any, ...],
    engine: Engine,
    search: Callable[[slice], tuple[NDArray[np.int64], NDArray[np.float64]]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return numbers and distances ``[n, k]`` of all rows of ``engine``: what ``search`` gives for each part of them.

    Parts that an earlier call with the same rows left in ``folder`` are read; each of the others is on disk, under a
    name that tells the rows, what was ``asked`` of them and our version, before the next one is begun.
    """
    rows = engine.rows
    digest = hashlib.blake2b(repr((__version__, asked, rows.shape, rows.dtype.str, ROWS)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(rows).data)
    found: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    for start in range(0, len(rows), ROWS):
        part = slice(start, min(start + ROWS, len(rows)))
        path = Path(folder) / f"{digest.hexdigest()}-{start}.safetensors"
        with progress.as_part("neighbors", "neighbors", part.start / len(rows), part.stop / len(rows)):
            found.append(_part(path, part, engine, search))
        progress.report("neighbors", part.stop, len(rows), f"{part.stop} of {len(rows)} rows")
    numbers, distances = (np.concatenate(each) for each in zip(*found, strict=True))
    return numbers, distances


def _part(
    path: Path,
    part: slice,
    engine: Engine,
    search: Callable[[slice], tuple[NDArray[np.int64], NDArray[np.float64]]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    if path.is_file():
        params, kept = load_model(path, _KIND)
        engine.recomputed += params["recomputed"]
        return kept["numbers"], kept["distances"]
    before = engine.recomputed
    numbers, distances = search(part)
    save_model(path, _KIND, {"recomputed": engine.recomputed - before}, {"numbers": numbers, "distances": distances})
    return numbers, distances
