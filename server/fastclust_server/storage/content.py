"""Checks of payloads: what may be declared, and whether what came is that."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import wire
from fastclust.checksums import Whole
from fastclust.errors import DataError, DataLossError, InputError
from fastclust.v1 import common_pb2, dataset_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust_server.storage.catalog import UploadRecord

__all__ = ["Checker", "check_declared", "check_payload", "count_rows", "npy_header"]

_BLOCK_BYTES = 4 * 2**20
_MAX_DIMS = 4


def check_declared(request: dataset_pb2.CreateUploadRequest) -> tuple[bytes, str, bytes]:
    """Check what an upload is said to be.

    Returns
    -------
    content, suffix, head
        A Dataset with only its content set, serialised; the suffix of the file; the bytes that stand in the file
        before the payload: tensors are stored as ``.npy``, so that every reader can map them.
    """
    which = request.WhichOneof("content")
    if request.kind == common_pb2.DATASET_KIND_TENSOR:
        _must_be(which, "tensor")
        shape = list(request.tensor.shape)
        size = wire.nbytes(request.tensor, "array")
        if not 1 <= len(shape) <= _MAX_DIMS or size == 0:
            raise InputError("array", f"shape {shape}", f"1 to {_MAX_DIMS} dimensions, at least one row, none empty")
        _check_size(request.byte_count, size)
        content = dataset_pb2.Dataset(tensor=request.tensor)
        return _serialise(content), ".npy", npy_header(wire.dtype_of(request.tensor), shape)
    if request.kind == common_pb2.DATASET_KIND_IMAGES:
        _must_be(which, "images")
        _check_size(request.byte_count, None)
        return _serialise(dataset_pb2.Dataset(images=request.images)), ".tar", b""
    if request.kind == common_pb2.DATASET_KIND_LABELS:
        _must_be(which, "labels")
        content = dataset_pb2.Dataset(labels=request.labels)
        if request.labels.encoding == dataset_pb2.LABELS_ENCODING_ROWS_INT64:
            rows = request.labels.row_count
            if rows < 1:
                raise InputError("labels.row_count", rows, "the number of labels, at least 1")
            _check_size(request.byte_count, 8 * rows)
            return _serialise(content), ".npy", npy_header(np.dtype("<i8"), [rows])
        if request.labels.encoding == dataset_pb2.LABELS_ENCODING_CSV:
            _check_size(request.byte_count, None)
            return _serialise(content), ".csv", b""
        raise InputError("labels.encoding", request.labels.encoding, "LABELS_ENCODING_ROWS_INT64, LABELS_ENCODING_CSV")
    raise InputError("kind", request.kind, "DATASET_KIND_TENSOR, DATASET_KIND_IMAGES, DATASET_KIND_LABELS")


def npy_header(dtype: np.dtype[Any], shape: list[int]) -> bytes:
    """Return the header that makes raw elements a ``.npy`` file."""
    head = io.BytesIO()
    description = {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(head, description)
    return head.getvalue()


class Checker:
    """Checks a payload piece by piece, in order: its CRC32C, and that its numbers may stand in a data set."""

    def __init__(self, content: bytes) -> None:
        self.content = dataset_pb2.Dataset.FromString(content)
        self._dtype = wire.dtype_of(self.content.tensor) if self.content.WhichOneof("content") == "tensor" else None
        #: Bytes seen.
        self.position = 0
        self._whole = Whole()
        self.bad: InputError | None = None
        #: The beginning of an element whose end has not come.
        self._rest = b""

    @property
    def crc32c(self) -> int:
        """Of all that was seen."""
        return self._whole.value

    def add(self, data: bytes | memoryview, crc32c: int | None = None) -> None:
        """Take the next piece; ``crc32c`` is its checksum, where that was compared already."""
        self._whole.add(data, crc32c)
        dtype = self._dtype
        if dtype is not None and dtype.kind in "fb" and self.bad is None:
            first = (self.position - len(self._rest)) // dtype.itemsize
            piece = self._rest + bytes(data) if self._rest else data
            whole = len(piece) // dtype.itemsize * dtype.itemsize
            self._rest = bytes(piece[whole:])
            self.bad = _bad_element(np.frombuffer(piece[:whole], dtype), first, list(self.content.tensor.shape))
        self.position += len(data)


def check_payload(
    path: Path, record: UploadRecord, checksum: common_pb2.Checksum, checker: Checker, *, most_pixels: int
) -> tuple[int, int]:
    """Check a whole payload; return its rows and its CRC32C. ``checker`` saw what it saw while that was written.

    Raises
    ------
    DataLossError
        The checksum differs.
    InputError, DataError
        The content is not what it was said to be: numbers that are not finite, an archive that is none.
    """
    size = path.stat().st_size - record.head_bytes
    if size != record.byte_count:
        raise DataLossError(f"{record.name}: the server holds {size} bytes of {record.byte_count}.")
    _feed(path, record.head_bytes, checker)
    sha = hashlib.sha256()
    if checksum.WhichOneof("value") == "sha256":
        with path.open("rb") as file:
            file.seek(record.head_bytes)
            while block := file.read(_BLOCK_BYTES):
                sha.update(block)
    _compare(record, checksum, checker.crc32c, sha.digest())
    if checker.bad is not None:
        raise checker.bad
    return count_rows(path, checker.content, most_pixels), checker.crc32c


def _feed(path: Path, head: int, checker: Checker) -> None:
    with path.open("rb") as file:
        file.seek(head + checker.position)
        while block := file.read(_BLOCK_BYTES):
            checker.add(block)


def count_rows(path: Path, content: dataset_pb2.Dataset, most_pixels: int) -> int:
    """Look through a payload whose numbers were checked, and count its rows, images or labels."""
    which = content.WhichOneof("content")
    if which == "tensor":
        return content.tensor.shape[0]
    if which == "images":
        return _count_images(path, content.images, most_pixels)
    if content.labels.encoding == dataset_pb2.LABELS_ENCODING_ROWS_INT64:
        return content.labels.row_count
    return _count_labels(path, content.labels)


def _must_be(which: str | None, wanted: str) -> None:
    if which != wanted:
        raise InputError("content", which or "nothing", f"{wanted}, as the kind says")


def _check_size(came: int, wanted: int | None) -> None:
    if came <= 0:
        raise InputError("byte_count", came, "more than zero: an upload must not be empty")
    if wanted is not None and came != wanted:
        raise InputError("byte_count", came, f"{wanted}, as dtype and shape say")


def _serialise(content: dataset_pb2.Dataset) -> bytes:
    return content.SerializeToString(deterministic=True)


def _compare(record: UploadRecord, checksum: common_pb2.Checksum, crc: int, sha: bytes) -> None:
    which = checksum.WhichOneof("value")
    if which is None:
        raise InputError("checksum", "nothing", "crc32c or sha256 of the payload")
    came, have = (checksum.crc32c, crc) if which == "crc32c" else (checksum.sha256, sha)
    if came != have:
        shown = [f"{value:08x}" if isinstance(value, int) else value.hex() for value in (came, have)]
        raise DataLossError(
            f"{record.name}: {which} of what the server holds is {shown[1]}, the sender's is {shown[0]}. "
            "Delete this upload and send the data again."
        )


def _bad_element(block: NDArray[Any], start: int, shape: list[int]) -> InputError | None:
    """Find the first element that may not stand in a data set; ``start`` is the flat place of the block's first."""
    if block.dtype.kind == "f":
        finite = np.isfinite(block)
        if finite.all():
            return None
        wrong, allowed = ~finite, "finite numbers"
    elif block.dtype.kind == "b":
        wrong, allowed = block.view(np.uint8) > 1, "0 and 1 as bool"
        block = block.view(np.uint8)
    else:
        return None
    if not wrong.any():
        return None
    first = int(np.argmax(wrong))
    row, rest = divmod(start + first, math.prod(shape[1:]))
    where = f"row {row}"
    if len(shape) == 2:
        where += f", column {rest}"
    elif len(shape) > 2:
        where += f", place {tuple(int(i) for i in np.unravel_index(rest, shape[1:]))}"
    return InputError("array", f"{block[first]} at {where}", allowed, "Drop such rows or fill them in.")


def _count_images(path: Path, declared: dataset_pb2.ImagesSpec, most_pixels: int) -> int:
    from fastclust.data import open_images

    try:
        _count_pixels(path, most_pixels)
        images = open_images(path)
    except DataError as error:
        raise DataError(str(error).replace(str(path), "images")) from error
    found = len(images) + len(images.skipped)
    if declared.HasField("image_count") and declared.image_count != found:
        raise InputError("images.image_count", declared.image_count, f"{found}, the images that the archive holds")
    return len(images)


def _count_pixels(path: Path, most: int) -> None:
    """Refuse an archive whose images would be too large together, by their headers: nothing is decoded yet."""
    from PIL import Image, UnidentifiedImageError

    total = 0
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is None:
                    continue
                try:
                    with Image.open(file) as image:
                        total += image.width * image.height
                except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                    continue  # reported as unreadable when the archive is opened
                if total > most:
                    raise InputError("images", f"more than {most} pixels in all", f"at most {most} when decoded")
    except tarfile.TarError as error:
        raise DataError(f"{path}: not a readable tar ({error}).") from error


def _count_labels(path: Path, declared: dataset_pb2.LabelsSpec) -> int:
    """Read a CSV "id,label" through, keeping only its ids in memory."""
    seen: set[str] = set()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for line, row in _label_rows(file):
                if row[0] in seen:
                    raise DataError(f"labels: line {line} names {row[0][:100]!r} a second time.")
                seen.add(row[0])
    except UnicodeDecodeError as error:
        raise DataError(f"labels: the CSV is not UTF-8 ({error.reason} at byte {error.start}).") from error
    if not seen:
        raise InputError("labels", "no labels", "at least one")
    if declared.HasField("row_count") and declared.row_count != len(seen):
        raise InputError("labels.row_count", declared.row_count, f"{len(seen)}, the lines of the CSV")
    return len(seen)


def _label_rows(file: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(file, strict=True)
    try:
        if [name.strip() for name in next(rows, [])] != ["id", "label"]:
            raise DataError('labels: the CSV does not begin with the line "id,label".')
        for row in rows:
            if not row:
                continue
            if len(row) != 2:
                raise DataError(f"labels: line {rows.line_num} has {len(row)} fields; needed: id,label.")
            yield rows.line_num, row
    except csv.Error as error:
        raise DataError(f"labels: line {rows.line_num} is not CSV ({error}).") from error
