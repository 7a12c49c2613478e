"""Arrays of one number a row for more rows than memory should hold: in a file that nobody sees."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import StorageFullError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["scratch"]


def scratch(shape: tuple[int, ...], dtype: Any, folder: Path | None = None, small: int = 1 << 26) -> NDArray[Any]:
    """Return an array of zeros; one of more than ``small`` bytes is mapped from a file without a name.

    The file lies in ``folder``, or where the system keeps temporary files, and goes with the array.

    Raises StorageFullError.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= small:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(dir=folder, prefix="fastclust-") as file:
        try:
            # With blocks of the disk behind it: a full disk must show here, not as a signal later.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise StorageFullError(f"{folder or tempfile.gettempdir()}: no room for {size} bytes ({error}).") from error
        mapped = mmap.mmap(file.fileno(), size)
    return np.frombuffer(mapped, dtype).reshape(shape)
