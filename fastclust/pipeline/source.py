"""What a run starts from: images or rows, their ids and labels, and a fingerprint that tells when they changed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust.data import ImageSource, RowSource, open_images, open_rows, read_labels
from fastclust.data.parquet_images import SUFFIXES, holds_images
from fastclust.errors import InputError
from fastclust.pipeline.folder import key_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastclust.data import Labels

__all__ = ["RunSource", "labels_of", "open_source"]

_BUILT_IN = ("digits", "fashion-mnist")
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class RunSource:
    """Images, or rows of numbers."""

    images: ImageSource | None
    rows: RowSource | None
    #: One id a row.
    ids: list[str]
    #: int64 [n], -1 where unknown; only ever scored against. None where there are none.
    labels: NDArray[np.int64] | None
    label_names: list[str] | None
    #: Of the images or rows, and of the labels: one may change without the other.
    fingerprint: str
    labels_fingerprint: str

    @property
    def n_rows(self) -> int:
        """Number of rows or images."""
        return len(self.ids)

    @property
    def kind(self) -> str:
        """Return "images" or "vectors"."""
        return "vectors" if self.images is None else "images"


def open_source(source: Any, labels: Any = None) -> RunSource:
    """Open what a user calls a source.

    Parameters
    ----------
    source
        A folder of images, a tar of images, an IDX, ``.npy`` or Parquet file (of images where its column "image" has
        bytes), "digits", "fashion-mnist", an array (``[n, d]`` rows; ``[n, h, w]`` or ``[n, h, w, c]`` uint8 images),
        an ImageSource or a RowSource.
    labels
        An array, ``.npy`` or CSV ("id,label") to score against. None takes the source's own, such as the sub-folders
        that images stand in.

    Raises
    ------
    InputError, InputTypeError, DataError, NotFoundError
        As :func:`fastclust.open_images`, :func:`fastclust.open_rows` and ``load_labels`` do.
    """
    images: ImageSource | None = None
    rows: RowSource | None = None
    if isinstance(source, ImageSource) or (not isinstance(source, RowSource) and _is_images(source)):
        images = open_images(source)
        ids = list(images.ids)
        own, names = images.labels, images.label_names
    else:
        rows = open_rows(source)
        ids = [str(row) for row in range(rows.shape[0])]
        own, names = None, None
    if labels is not None:
        own, names = labels_of(labels, ids, "labels")
    about_labels = "" if own is None else key_of(own.tolist(), names)
    return RunSource(images, rows, ids, own, names, _fingerprint(source, images, rows), about_labels)


def labels_of(given: Any, ids: list[str], name: str) -> Labels:
    """Read the labels of the rows with these ids: int64 [n], -1 where unknown, and their names.

    Raises InputError, under the parameter's name, for another number of them; else as ``load_labels`` does.
    """
    try:
        found = read_labels(given, ids)
    except InputError as error:
        raise InputError(name, error.came, error.allowed, error.fix) from error
    if len(found.labels) != len(ids):
        raise InputError(name, f"{len(found.labels)} labels", f"{len(ids)}, one for each row")
    return found


def _is_images(source: Any) -> bool:
    if isinstance(source, str | os.PathLike):
        if source in _BUILT_IN:
            return True
        path = Path(source)
        if path.suffix in SUFFIXES:
            return holds_images(path)
        if path.suffix != ".npy":
            return path.is_dir() or path.suffix == ".tar" or "idx" in path.name
        source = open_npy_shape(path)
        return len(source) > 2
    return np.ndim(source) > 2


def open_npy_shape(path: Path) -> tuple[int, ...]:
    """Read the shape in a ``.npy`` header. Raises DataError where there is none."""
    from fastclust.data.npy import read_header

    return read_header(path).shape


def _fingerprint(source: Any, images: ImageSource | None, rows: RowSource | None) -> str:
    """Hash names, sizes and times of files, and the contents of anything else."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(source, str | os.PathLike):
        digest.update(os.fspath(source).encode())
        if source not in _BUILT_IN:
            for path in _files(Path(source)):
                status = path.stat()
                digest.update(f"\n{path.name} {status.st_size} {status.st_mtime_ns}".encode())
    elif rows is not None:
        for block in rows.blocks(_BLOCK):
            digest.update(np.ascontiguousarray(block).tobytes())
    elif images is not None:
        for row in range(len(images)):
            digest.update(images.encoded(row))
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    return sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
