"""A tar of encoded images: read in place, never unpacked."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fastclust import progress
from fastclust.data.encoded import EncodedImages, looks_like_image
from fastclust.errors import DataError

if TYPE_CHECKING:
    import os

    from fastclust.data.images import ImageSource
    from fastclust.data.parquet_images import ImageRows

__all__ = ["TarImages", "write_image_tar"]


class TarImages(EncodedImages):
    """Members of an uncompressed tar; ids are the member names, in the tar's order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        #: name -> (offset, size)
        self._places = _members(path)
        self._file = path.open("rb")
        super().__init__(str(path), [name for name in self._places if looks_like_image(name)])

    def _bytes(self, name: str) -> bytes:
        offset, size = self._places[name]
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) != size:
            raise DataError(f"{self._path}: {name} is cut off.")
        return data

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()


def _members(path: Path) -> dict[str, tuple[int, int]]:
    """Places of the regular files. Raises DataError for anything that an honest archive does not hold."""
    size = path.stat().st_size
    places: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                parts = PurePosixPath(member.name).parts
                if not member.isreg() or member.issparse():
                    raise DataError(f"{path}: {member.name!r} is not a plain file; allowed: plain files only.")
                if member.name.startswith("/") or ".." in parts:
                    raise DataError(f"{path}: {member.name!r} points outside; allowed: names below the archive.")
                if member.name in places:
                    raise DataError(f"{path}: {member.name!r} is there twice.")
                if member.offset_data + member.size > size:
                    raise DataError(f"{path}: {member.name!r} is cut off: the file is truncated.")
                places[member.name] = (member.offset_data, member.size)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DataError(f"{path}: not a readable, uncompressed tar ({error}).") from error
    return places


def write_image_tar(
    source: ImageSource | ImageRows, path: str | os.PathLike[str], *, include_labels: bool = False
) -> Path:
    """Write images into a tar, for an upload; members are named by id.

    With ``include_labels``, members of a source with labels stand in a folder named by their label, which is then read
    as a label on the other side.
    """
    target = Path(path)
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for row, name in enumerate(source.ids):
            data = source.encoded(row)
            member = tarfile.TarInfo(_member_name(source, row, name, include_labels=include_labels))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
            if row % 256 == 0:
                progress.report("pack", row, len(source.ids), "packing images")
    progress.report("pack", 1, 1, "packing images")
    return target


def _member_name(source: ImageSource | ImageRows, row: int, name: str, *, include_labels: bool) -> str:
    member = name if looks_like_image(name) else f"{name}.png"
    if include_labels and source.labels is not None and source.labels[row] >= 0:
        label = int(source.labels[row])
        top = source.label_names[label].replace("/", "_") if source.label_names else str(label)
        top = f"_{top}" if top in ("", ".", "..") else top
        return f"{top}/{member}"
    return member
