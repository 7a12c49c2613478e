"""Images behind one interface, whether they lie in a folder, in a tar, in an IDX file or in an array."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.errors import DataError, InputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["ImageSource", "open_images"]


class ImageSource(ABC):
    """Images with ids, and labels where the source knows some."""

    #: One id an image, in order.
    ids: list[str]
    #: int64 [n], -1 where unknown; None where the source knows none.
    labels: NDArray[np.int64] | None = None
    #: Name of each label number.
    label_names: list[str] | None = None
    #: bool [n], where the data set has a split by classes: those that metric learning trains on by custom.
    learns: NDArray[np.bool_] | None = None
    #: (id, reason) of files that cannot be read as images; they are left out of ``ids``.
    skipped: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the first image."""
        first = self.image(0)
        return first.height, first.width, 1 if first.mode == "L" else 3

    @abstractmethod
    def image(self, row: int) -> Image:
        """Return one image, in mode "L" or "RGB"."""

    @abstractmethod
    def encoded(self, row: int) -> bytes:
        """Return one image as the bytes of an image file."""

    def blocks(self, count: int, *, size: int | None = None, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Yield images in order, ``count`` at a time, as uint8 ``[b, h, w, c]`` with 1 or 3 channels.

        From image ``start`` on.
        ``size`` is in pixels a side: the middle square of each image, resampled. None keeps the images as they are,
        which must then have one shape. Raises InputError where they have not.
        """
        channels = self.channels
        for first in range(start, len(self), count):
            rows = range(first, min(first + count, len(self)))
            yield np.stack([self._pixels(row, size, channels) for row in rows])

    def read(self, size: int | None = None) -> NDArray[np.uint8]:
        """Return all images as uint8 ``[n, h, w, c]``."""
        return np.concatenate(list(self.blocks(1024, size=size)))

    @property
    def channels(self) -> int:
        """1 if all images are grey, else 3."""
        return self.shape[2]

    def _pixels(self, row: int, size: int | None, channels: int) -> NDArray[np.uint8]:
        image = self.image(row).convert("L" if channels == 1 else "RGB")
        if size is not None:
            image = _square(image, size)
        elif (image.height, image.width) != self.shape[:2]:
            raise InputError(
                "size",
                f"None, and {self.ids[row]} is {image.width}x{image.height} pixels",
                "a number of pixels, for images of different shapes",
            )
        pixels = np.asarray(image, np.uint8)
        return pixels[:, :, None] if channels == 1 else pixels


def _square(image: Image, size: int) -> Image:
    """Cut the middle square and bring it to ``size`` pixels a side."""
    from PIL import Image as Pillow

    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if (side, side) == image.size == (size, size):
        return image
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Pillow.Resampling.BILINEAR, box=box, reducing_gap=2.0)


def decode(data: bytes) -> Image:
    """Decode an image file to mode "L" or "RGB". Raises what Pillow raises."""
    from PIL import Image as Pillow

    image = Pillow.open(io.BytesIO(data))
    image.load()
    return image if image.mode == "L" else image.convert("RGB")


def open_images(source: Any, *, size: int | None = None) -> ImageSource:
    """Open images: a folder, a tar, IDX, ``.npy`` or Parquet file, an array, "digits", "fashion-mnist", an ImageSource.

    Arrays are uint8 ``[n, h, w]`` or ``[n, h, w, c]`` with 1 or 3 channels. Folders are searched in depth; where all
    images stand in sub-folders, the first sub-folder's name is the label. In the folders of CUB-200-2011, Cars-196 and
    Stanford Online Products their own lists give images and labels, and ``learns`` says which classes train by custom.
    Parquet holds bytes of image files in the column "image" and, where there are some, labels in "label". Files that
    cannot be read as images are left out, listed in ``skipped``, and warned of.

    Parameters
    ----------
    source
        What to open.
    size
        Not needed to open; checked where given: pixels a side that will be asked for.

    Raises
    ------
    InputError, InputTypeError
        Arrays of another shape or dtype.
    DataError, NotFoundError
        Sources that are missing, damaged, or hold no readable image.
    MissingPackageError
        "fashion-mnist" where its files are not installed; the message says how to install them.
    """
    from fastclust.data import arrays, builtin

    if size is not None and size < 1:
        raise InputError("size", size, "at least 1 pixel")
    if isinstance(source, ImageSource):
        return source
    if not isinstance(source, str | os.PathLike):
        return arrays.ArrayImages(source)
    if source in builtin.NAMES:
        return builtin.open_builtin(str(source))
    return _open_path(Path(source))


def _open_path(path: Path) -> ImageSource:
    from fastclust.data import arrays, folder, layouts, parquet_images, tar

    if path.is_dir():
        lists = layouts.layout_of(path)
        return folder.FolderImages(path) if lists is None else layouts.ListedImages(path, lists)
    if not path.exists():
        raise NotFoundError(f"{path}: no such file or folder.")
    if path.suffix == ".tar":
        return tar.TarImages(path)
    if path.suffix == ".npy":
        from fastclust.data.npy import open_npy

        return arrays.ArrayImages(open_npy(path))
    if path.suffix in parquet_images.SUFFIXES:
        return parquet_images.ParquetImages(path)
    if "idx" in path.name:
        return arrays.ArrayImages(arrays.read_idx(path))
    raise DataError(f"{path}: allowed are a folder of images, a .tar, a .npy, a .parquet or an IDX file.")
