"""Sprite sheets: the thumbnails of a run in a few JPEG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastclust import progress
from fastclust.artifacts import replacing, save_json
from fastclust.errors import InputError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from fastclust.data import ImageSource

__all__ = ["make_sprites"]

# A browser unpacks a sheet whole to show one image of it: 16 MB at this size.
_LONGEST_SIDE = 2048
_LARGEST = 64
_SIZES = (8, 512)
_SMALLEST = 24
_BLOCK = 4096
_QUALITY = 85
#: From this many images on, bytes count more than the last bit of sharpness.
_MANY = 20_000
_QUALITY_OF_MANY = 75


def make_sprites(images: ImageSource, folder: str | os.PathLike[str], *, size: int | None = None) -> list[str]:
    """Write ``thumbnails-*.jpg`` and ``thumbnails.json`` into ``folder``; returns the names of the files.

    Parameters
    ----------
    images
        What to show; the middle square of each.
    folder
        Where to.
    size
        Pixels a side, 8 to 512; None takes that of the first image, within 24 and 64.

    Raises
    ------
    InputError
        A size out of range, or no image.
    """
    if size is not None and not _SIZES[0] <= size <= _SIZES[1]:
        raise InputError("size", size, f"{_SIZES[0]}..{_SIZES[1]} pixels")
    if not len(images):
        raise InputError("images", "no image", "at least one")
    height, width, channels = images.shape
    side = size or int(np.clip(min(height, width), _SMALLEST, _LARGEST))
    columns = _LONGEST_SIDE // side
    per_sheet = columns * columns
    target = Path(folder)
    count = len(images)
    files: list[str] = []
    quality = _QUALITY if count < _MANY else _QUALITY_OF_MANY
    held = np.empty((0, side, side, channels), np.uint8)
    done = 0
    for block in images.blocks(_BLOCK, size=side):
        held = np.concatenate([held, block])
        done += len(block)
        while len(held) >= per_sheet or (done == count and len(held)):
            files.append(_write_sheet(held[:per_sheet], min(columns, count), target, len(files), quality))
            held = held[per_sheet:]
        progress.report("read", done, count, "thumbnails")
    about = {"size": side, "columns": min(columns, count), "count": count, "per_sheet": per_sheet, "files": files}
    save_json(target / "thumbnails.json", {**about, "channels": channels})
    return [*files, "thumbnails.json"]


def _write_sheet(pixels: NDArray[np.uint8], columns: int, folder: Path, number: int, quality: int) -> str:
    from PIL import Image

    count, side, _, channels = pixels.shape
    rows = -(-count // columns)
    grid = np.zeros((rows * columns, side, side, channels), np.uint8)
    grid[:count] = pixels
    sheet = (
        grid.reshape(rows, columns, side, side, channels).swapaxes(1, 2).reshape(rows * side, columns * side, channels)
    )
    image = Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)
    name = f"thumbnails-{number}.jpg"
    with replacing(folder / name) as temporary:
        image.save(temporary, "JPEG", quality=quality)
    return name
