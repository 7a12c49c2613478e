"""Checks of payloads: what may be declared, and whether what came is that."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import wire
from fastclust.errors import DataError, DataLossError, InputError
from fastclust.v1 import common_pb2, dataset_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from fastclust_server.storage.catalog import UploadRecord

__all__ = ["check_declared", "check_payload", "npy_header"]

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


def check_payload(path: Path, record: UploadRecord, checksum: common_pb2.Checksum) -> tuple[int, int]:
    """Read a whole payload once and check it; return its rows and its CRC32C.

    Raises
    ------
    DataLossError
        The checksum differs.
    InputError, DataError
        The content is not what it was said to be: numbers that are not finite, an archive that is none.
    """
    content = dataset_pb2.Dataset.FromString(record.content)
    which = content.WhichOneof("content")
    dtype = wire.dtype_of(content.tensor) if which == "tensor" else None
    crc, sha = 0, hashlib.sha256()
    want_sha = checksum.WhichOneof("value") == "sha256"
    bad: InputError | None = None
    place = 0
    with path.open("rb") as file:
        file.seek(record.head_bytes)
        while block := file.read(_BLOCK_BYTES):
            crc = wire.crc32c(block, crc)
            if want_sha:
                sha.update(block)
            if dtype is not None and bad is None:
                bad = _bad_element(np.frombuffer(block, dtype), place // dtype.itemsize, list(content.tensor.shape))
            place += len(block)
    if place != record.byte_count:
        raise DataLossError(f"{record.name}: the server holds {place} bytes of {record.byte_count}.")
    _compare(record, checksum, crc, sha.digest())
    if bad is not None:
        raise bad
    if which == "tensor":
        return content.tensor.shape[0], crc
    if which == "images":
        return _count_images(path, content.images), crc
    if content.labels.encoding == dataset_pb2.LABELS_ENCODING_ROWS_INT64:
        return content.labels.row_count, crc
    return _count_labels(path, content.labels), crc


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
        wrong, allowed = ~np.isfinite(block), "finite numbers"
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


def _count_images(path: Path, declared: dataset_pb2.ImagesSpec) -> int:
    from fastclust.data import open_images

    try:
        images = open_images(path)
    except DataError as error:
        raise DataError(str(error).replace(str(path), "images")) from error
    found = len(images) + len(images.skipped)
    if declared.HasField("image_count") and declared.image_count != found:
        raise InputError("images.image_count", declared.image_count, f"{found}, the images that the archive holds")
    return len(images)


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
