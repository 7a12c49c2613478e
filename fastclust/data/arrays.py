"""Images that lie in an array, and the IDX format that holds arrays."""

from __future__ import annotations

import gzip
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.data.images import ImageSource
from fastclust.errors import DataError, InputError, InputTypeError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["ArrayImages", "read_idx"]

_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
#: A longer file than this is no IDX file of images that we would hold in memory.
_LARGEST_IDX = 2**34


class ArrayImages(ImageSource):
    """uint8 ``[n, h, w]`` or ``[n, h, w, c]``; ids are row numbers unless given."""

    def __init__(
        self,
        array: Any,
        *,
        ids: list[str] | None = None,
        labels: NDArray[np.int64] | None = None,
        label_names: list[str] | None = None,
    ) -> None:
        pixels = np.asarray(array)
        if pixels.dtype != np.uint8:
            raise InputTypeError("source", f"dtype {pixels.dtype}", "uint8 pixels", "Scale to 0..255 and convert.")
        if pixels.ndim == 3:
            pixels = pixels[..., None]
        if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape:
            raise InputError("source", f"shape {np.shape(array)}", "[n, h, w] or [n, h, w, c] with 1 or 3 channels")
        self._pixels_all: NDArray[np.uint8] = pixels
        self.ids = ids if ids is not None else [str(row) for row in range(len(pixels))]
        self.labels = labels
        self.label_names = label_names
        self.skipped = []

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        _, height, width, channels = self._pixels_all.shape
        return height, width, channels

    def image(self, row: int) -> Image:
        """Return one image, in mode "L" or "RGB"."""
        from PIL import Image as Pillow

        pixels = np.ascontiguousarray(self._pixels_all[row])
        return Pillow.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)

    def encoded(self, row: int) -> bytes:
        """Return one image as PNG."""
        buffer = io.BytesIO()
        self.image(row).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def blocks(self, count: int, *, size: int | None = None, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Yield blocks as :meth:`ImageSource.blocks`; without decoding where the size is as it is."""
        height, width, _ = self.shape
        if size is None or (height, width) == (size, size):
            for first in range(start, len(self), count):
                yield np.ascontiguousarray(self._pixels_all[first : first + count])
        else:
            yield from super().blocks(count, size=size, start=start)


def read_idx(path: Path) -> NDArray[Any]:
    """Read an IDX file, gzipped or not (the format of the MNIST files: http://yann.lecun.com/exdb/mnist).

    Raises
    ------
    DataError, NotFoundError
        A file that is missing, truncated, longer than it says, or no IDX file.
    """
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file.") from error
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_DTYPES:
        raise DataError(f"{path}: not an IDX file.")
    dtype, dimensions = np.dtype(_IDX_DTYPES[data[2]]), data[3]
    offset = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(data[place : place + 4], "big") for place in range(4, offset, 4))
    expected = math.prod(shape) * dtype.itemsize
    if expected > _LARGEST_IDX or len(data) - offset != expected:
        raise DataError(f"{path}: {len(data) - offset} bytes of payload; shape {shape} needs {expected}.")
    return np.frombuffer(data, dtype, offset=offset).reshape(shape)
