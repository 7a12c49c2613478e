"""Rows of numbers behind one interface, whether they lie in memory or in a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.data.npy import open_npy
from fastclust.errors import DataError, InputError, InputTypeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

__all__ = ["RowSource", "open_rows"]

_KINDS = "fiub"


class RowSource:
    """Rows ``[n, d]``, handed out in blocks; a file stays on disk."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        n, d = self._array.shape
        return n, d

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements, as they are stored."""
        return self._array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Yield all rows in order, ``rows`` at a time; the last block may be shorter."""
        if rows < 1:
            raise InputError("rows", rows, "at least 1")
        for start in range(0, self.shape[0], rows):
            yield np.asarray(self._array[start : start + rows])

    def read(self) -> NDArray[Any]:
        """Return all rows, in memory."""
        return np.ascontiguousarray(self._array)

    def take(self, indices: ArrayLike) -> NDArray[Any]:
        """Return the rows at ``indices``."""
        return np.asarray(self._array[np.asarray(indices)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Let NumPy take the source for an array."""
        array = self.read() if copy else np.asarray(self._array)
        return array if dtype is None else array.astype(dtype, copy=False)


def open_rows(source: Any) -> RowSource:
    """Open rows ``[n, d]``: an array or anything that NumPy takes for one, a ``.npy`` file, or a RowSource.

    Raises
    ------
    InputError, InputTypeError
        Not two-dimensional, empty, or not numeric.
    DataError, NotFoundError
        A file that is missing, truncated or of another format.
    """
    if isinstance(source, RowSource):
        return source
    if isinstance(source, str | os.PathLike):
        if not os.fspath(source).endswith(".npy"):
            raise DataError(f"{os.fspath(source)}: rows are read from .npy files.")
        array = open_npy(source)
    elif hasattr(source, "__dlpack__") and not isinstance(source, np.ndarray):
        array = np.from_dlpack(source)
    else:
        array = np.asarray(source)
    if array.dtype.kind not in _KINDS:
        raise InputTypeError("source", f"dtype {array.dtype}", "numbers (float, int, uint, bool)")
    if array.ndim != 2:
        raise InputError("source", f"shape {array.shape}", "two dimensions, [n, d]", "Reshape it to one row an item.")
    if 0 in array.shape:
        raise InputError("source", f"shape {array.shape}", "at least one row and one column")
    return RowSource(array)
