"""Where a file lies: a local path, or a URL that fsspec opens."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastclust.errors import DataError, MissingPackageError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Place", "expand", "is_url"]


def is_url(source: str) -> bool:
    """Whether fsspec is to open it: ``s3://bucket/x.npy``, ``gs://...``, ``memory://...``."""
    return "://" in source


class Place:
    """A file or folder, here or elsewhere."""

    def __init__(self, name: str, path: Path | None, system: Any = None, key: str = "") -> None:
        #: As people call it; errors begin with it.
        self.name = name
        #: None where it is not local.
        self.path = path
        self._system, self._key = system, key

    @property
    def suffix(self) -> str:
        """Last suffix, in lower case."""
        return Path(self.name.rstrip("/").rsplit("/", 1)[-1]).suffix.lower()

    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir() if self.path is not None else bool(self._system.isdir(self._key))

    def exists(self) -> bool:
        """Whether there is anything."""
        return self.path.exists() if self.path is not None else bool(self._system.exists(self._key))

    def size(self) -> int:
        """Bytes of the file. Raises NotFoundError, DataError."""
        try:
            return self.path.stat().st_size if self.path is not None else int(self._system.size(self._key))
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.name}: no such file.") from error
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read ({error}).") from error

    def bytes(self, offset: int, length: int) -> bytes:
        """Read some bytes; fewer where the file ends. Raises NotFoundError, DataError."""
        try:
            if self.path is None:
                return bytes(self._system.cat_file(self._key, start=offset, end=offset + length))
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.name}: no such file.") from error
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read ({error}).") from error

    def open(self) -> Any:
        """Return a binary file that can be sought in. Raises NotFoundError, DataError."""
        try:
            return self.path.open("rb") if self.path is not None else self._system.open(self._key, "rb")
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.name}: no such file.") from error
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read ({error}).") from error

    def children(self) -> list[Place]:
        """What a folder holds, by name; hidden names are left out."""
        if self.path is not None:
            found = [Place(str(item), item) for item in self.path.iterdir()]
        else:
            keys = [str(item) for item in self._system.ls(self._key, detail=False)]
            found = [Place(self._system.unstrip_protocol(key), None, self._system, key) for key in keys]
        kept = [place for place in found if not place.name.rstrip("/").rsplit("/", 1)[-1].startswith((".", "_"))]
        return sorted(kept, key=lambda place: place.name)

    def mapper(self) -> Any:
        """The place as Zarr takes it."""
        if self.path is not None:
            return self.path
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(self.name, read_only=True)


def expand(source: str | os.PathLike[str], storage_options: Mapping[str, Any] | None) -> list[Place]:
    """Places of a path, a URL or a pattern such as ``x/*.npy``. Raises NotFoundError, MissingPackageError."""
    name = os.fspath(source)
    if is_url(name):
        return _remote(name, storage_options)
    path = Path(name)
    if not path.exists() and glob.has_magic(name):
        found = sorted(glob.glob(name))  # noqa: PTH207 - a pattern may be absolute
        if not found:
            raise NotFoundError(f"{name}: no file matches.")
        return [Place(item, Path(item).absolute()) for item in found]
    if not path.exists():
        raise NotFoundError(f"{name}: no such file.")
    # Files may be opened again later, when this process is in another folder.
    return [Place(name, path.absolute())]


def _remote(url: str, storage_options: Mapping[str, Any] | None) -> list[Place]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingPackageError(f'{url}: URLs need fsspec. Run: pip install "fastclust[files]"') from error
    try:
        system, key = url_to_fs(url, **(storage_options or {}))
    except ImportError as error:
        raise MissingPackageError(f"{url}: fsspec needs another package for this ({error}).") from error
    except ValueError as error:
        raise DataError(f"{url}: cannot be opened ({error}).") from error
    if glob.has_magic(key):
        keys = sorted(system.glob(key))
        if not keys:
            raise NotFoundError(f"{url}: no file matches.")
        return [Place(system.unstrip_protocol(found), None, system, found) for found in keys]
    place = Place(url, None, system, key)
    if not place.exists():
        raise NotFoundError(f"{url}: no such file.")
    return [place]
