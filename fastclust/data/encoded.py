"""What folders and tars of encoded images share: checking the files, labels from names, reporting what was left out."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from fastclust import progress
from fastclust.data.images import ImageSource, decode
from fastclust.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["EncodedImages", "looks_like_image"]

_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"])
_NAMED = 5


class EncodedImages(ImageSource):
    """Images as files, each decoded once to see that it can be."""

    def __init__(self, where: str, names: Sequence[str]) -> None:
        self.skipped = []
        self.ids = []
        self._all_grey = True
        self._names: list[str] = []
        for place, name in enumerate(names):
            self._look_at(name)
            progress.report("read", place + 1, len(names), "checking images")
        if not self.ids:
            reasons = f" ({self.skipped[0][0]}: {self.skipped[0][1]})" if self.skipped else ""
            raise DataError(f"{where}: holds no readable image{reasons}.")
        if self.skipped:
            listed = ", ".join(name for name, _ in self.skipped[:_NAMED])
            more = f" and {len(self.skipped) - _NAMED} more" if len(self.skipped) > _NAMED else ""
            warnings.warn(f"{where}: left out {len(self.skipped)} unreadable images: {listed}{more}", stacklevel=3)
        self.labels, self.label_names = labels_of(self.ids)

    @abstractmethod
    def _bytes(self, name: str) -> bytes:
        """Return the file's bytes."""

    def _look_at(self, name: str) -> None:
        from PIL import Image as Pillow

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Pillow.DecompressionBombWarning)
                image = decode(self._bytes(name))
        except Exception as error:  # noqa: BLE001 - decoders raise anything for damaged files
            self.skipped.append((name, f"{type(error).__name__}: {error}"))
            return
        self._all_grey &= image.mode == "L"
        self.ids.append(name)

    @property
    def channels(self) -> int:
        """1 if all images are grey, else 3."""
        return 1 if self._all_grey else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels): the first image's size, and channels that serve all."""
        first = self.image(0)
        return first.height, first.width, self.channels

    def image(self, row: int) -> Image:
        """Return one image, in mode "L" or "RGB"."""
        return decode(self._bytes(self.ids[row]))

    def encoded(self, row: int) -> bytes:
        """Return the bytes of the image's file."""
        return self._bytes(self.ids[row])


def looks_like_image(name: str) -> bool:
    """Whether the name ends as an image file's does, and is not hidden."""
    last = name.rsplit("/", 1)[-1]
    return not last.startswith(".") and "." in last and "." + last.rsplit(".", 1)[-1].lower() in _SUFFIXES


def labels_of(ids: Sequence[str]) -> tuple[NDArray[np.int64] | None, list[str] | None]:
    """Labels from the first folder in the names, where every image stands in one and there are at least two."""
    tops = [name.split("/", 1)[0] if "/" in name else "" for name in ids]
    names = sorted(set(tops))
    if "" in names or len(names) < 2:
        return None, None
    number = {name: place for place, name in enumerate(names)}
    return np.array([number[top] for top in tops], np.int64), names
