"""Keeps rows that take long to compute on disk, part by part, so that another attempt goes on behind the last part."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.artifacts import load_model, save_model
from fastclust.errors import DataError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["KeptRows"]

_KIND = "rows_so_far"
#: Seconds of work that a kill may cost. Each part is a file, and a sync of the disk.
_SECONDS = 10.0


class KeptRows:
    """Rows in order, some of them from an earlier attempt.

    Parameters
    ----------
    folder
        Where parts lie; removed by who uses them once the whole is safe. None keeps nothing.
    about
        What must be the same, as JSON can say it, for parts to be gone on with; others are overwritten.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, about: Mapping[str, Any]) -> None:
        self._folder = None if folder is None else Path(folder)
        self._about = dict(about)
        self._blocks: list[NDArray[Any]] = []
        #: Rows so far, and those of them that are on disk.
        self.rows = self._saved = 0
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._load()
        self._pending = len(self._blocks)
        self._since = time.monotonic()

    def add(self, block: NDArray[Any]) -> None:
        """Take the next rows ``[b, d]``; every few seconds what came is written."""
        self._blocks.append(block)
        self.rows += len(block)
        if self._folder is None or time.monotonic() - self._since < _SECONDS:
            return
        part = np.concatenate(self._blocks[self._pending :])
        save_model(self._path(self._saved), _KIND, self._about, {"rows": part})
        self._blocks[self._pending :] = [part]
        self._pending, self._saved, self._since = len(self._blocks), self.rows, time.monotonic()

    def all(self) -> NDArray[Any]:
        """Return all rows ``[n, d]``."""
        return np.concatenate(self._blocks)

    def _load(self) -> None:
        while (path := self._path(self._saved)).is_file():
            try:
                about, tensors = load_model(path, _KIND)
            except DataError:
                return  # it is written again
            if about != self._about:
                return
            self._blocks.append(tensors["rows"])
            self.rows += len(tensors["rows"])
            self._saved = self.rows

    def _path(self, first: int) -> Path:
        assert self._folder is not None
        return self._folder / f"rows-{first}.safetensors"
