"""Packs a folder of images into a tar for an upload."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

from fastclust.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["pack_folder"]

_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"])


def pack_folder(folder: Path, target: Path) -> Path:
    """Write the image files under ``folder`` into the tar ``target``, named by their paths below it, sorted.

    Owners, times and modes of the files stay here. Raises InputError for a folder without image files.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        raise InputError(
            "images", f"{folder}: no image file", f"a folder with files named {', '.join(sorted(_SUFFIXES))}"
        )
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in files:
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(member, file)
    return target
