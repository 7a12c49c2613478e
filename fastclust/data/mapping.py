"""Writes what a model makes of each row of a source."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust.data.limits import block_rows, floating, memory_of
from fastclust.data.results import MOST, ResultFolder, Work
from fastclust.data.rows import open_rows

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

__all__ = ["Mapped", "digest_of", "mapping"]


class Mapped(NamedTuple):
    """What a model makes of rows."""

    change: Callable[[NDArray[Any]], NDArray[Any]]
    #: What it is called.
    column: str
    #: What tells the model from others.
    tensors: list[NDArray[Any]]


def digest_of(tensors: Iterable[NDArray[Any]]) -> str:
    """Return a short text that another model would not have."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(f"{tensor.dtype.str}{tensor.shape}".encode() + np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def mapping(
    X: Any,
    folder: str | os.PathLike[str],
    change: Callable[[NDArray[Any]], NDArray[Any]],
    column: str,
    tensors: Iterable[NDArray[Any]],
    *,
    most: int = MOST,
) -> Work:
    """What writes ``row`` and ``column``, which is ``change`` of the rows; ``tensors`` tell models apart.

    Raises PreconditionError for a folder with the results of other rows or of another model.
    """
    source = open_rows(X)
    dtype = floating(source.dtype)
    block = block_rows(memory_of(source), source.shape[1] * dtype.itemsize)

    def compute(rows: NDArray[Any], start: int) -> dict[str, NDArray[Any]]:
        del start
        return {column: change(np.ascontiguousarray(rows, dtype))}

    kept = ResultFolder(folder, source, f"{column} of {digest_of(tensors)}", most=most)
    return Work(kept, source, compute, min(block, 1 << 16))
