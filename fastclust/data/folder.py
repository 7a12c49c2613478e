"""A folder of images, searched in depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastclust.data.encoded import EncodedImages, looks_like_image

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FolderImages"]


class FolderImages(EncodedImages):
    """Image files under a folder; ids are their paths below it, with "/" between, in sorted order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        names = sorted(item.relative_to(path).as_posix() for item in path.rglob("*") if item.is_file())
        super().__init__(str(path), [name for name in names if looks_like_image(name)])

    def _bytes(self, name: str) -> bytes:
        return (self._path / name).read_bytes()
