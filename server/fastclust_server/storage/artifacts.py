"""Artifacts on disk: written by a worker, then published by a row; read back in blocks of whole rows."""

from __future__ import annotations

import math
import os
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fastclust import chunks, wire
from fastclust.artifacts import replacing, save_array
from fastclust.errors import DataLossError, InputError
from fastclust.v1 import common_pb2
from fastclust_server.jobs.records import ArtifactRecord
from fastclust_server.storage.folder import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ArtifactWriter", "read_blocks"]

_BLOCK_BYTES = 2**20
_TENSOR_TYPE = "application/x-npy"
_MEDIA_TYPES = {
    ".html": "text/html",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".safetensors": "application/vnd.safetensors",
    ".npy": _TENSOR_TYPE,
}


class ArtifactWriter:
    """Writes the results of one attempt. Nothing counts before the store has the records."""

    def __init__(self, root: Path, job: str, attempt: int) -> None:
        self._place = f"{job}/{attempt}"
        self.folder = root / job / str(attempt)
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(mode=0o700, parents=True)
        self.records: list[ArtifactRecord] = []

    def tensor(self, key: str, array: NDArray[Any]) -> None:
        """Write an array as ``{key}.npy``."""
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        spec = wire.spec_of(array.dtype, array.shape, key)
        path = self.folder / f"{key}.npy"
        save_array(path, array)
        self._record(key, path, spec, array.nbytes, _TENSOR_TYPE, is_file=False)

    def file(self, source: Path, key: str | None = None) -> None:
        """Copy a file."""
        path = self.folder / (key or source.name)
        with replacing(path) as temporary:
            shutil.copyfile(source, temporary)
        self.written(path)

    def written(self, path: Path) -> None:
        """Take in a file that was written, and synced, into ``folder``."""
        size = path.stat().st_size
        spec = common_pb2.TensorSpec(dtype=common_pb2.DATA_TYPE_UINT8, shape=[size])
        media_type = _MEDIA_TYPES.get(path.suffix, "application/octet-stream")
        self._record(path.name, path, spec, size, media_type, is_file=True)

    def close(self) -> list[ArtifactRecord]:
        """Make the folders durable and return the records to publish."""
        sync_folder(self.folder)
        sync_folder(self.folder.parent)
        sync_folder(self.folder.parent.parent)
        return self.records

    def _record(
        self, key: str, path: Path, spec: common_pb2.TensorSpec, size: int, media_type: str, *, is_file: bool
    ) -> None:
        crc = 0
        with path.open("rb") as file:
            file.seek(path.stat().st_size - size)
            while block := file.read(_BLOCK_BYTES):
                crc = wire.crc32c(block, crc)
        self.records.append(
            ArtifactRecord(
                key=key,
                media_type=media_type,
                tensor=spec.SerializeToString(),
                byte_count=size,
                crc32c=crc,
                is_file=is_file,
                file=f"{self._place}/{path.name}",
            )
        )


def read_blocks(root: Path, record: ArtifactRecord, row_offset: int, row_limit: int) -> Iterator[bytes]:
    """Yield messages, as bytes, with blocks of whole rows of about 1 MiB, from ``row_offset`` on.

    ``row_limit``: how many rows; 0: to the end.

    Raises InputError before anything is read where there are no such rows.
    """
    spec = common_pb2.TensorSpec.FromString(record.tensor)
    shape = list(spec.shape) or [1]
    rows = shape[0]
    if not 0 <= row_offset <= rows:
        raise InputError("row_offset", row_offset, f"0..{rows}, the number of rows")
    if row_limit < 0:
        raise InputError("row_limit", row_limit, "0 or more; 0 is to the end")
    stop = rows if row_limit == 0 else min(rows, row_offset + row_limit)
    row_bytes = wire.dtype_of(spec).itemsize * math.prod(shape[1:])
    per_block = max(1, _BLOCK_BYTES // max(row_bytes, 1))
    return _blocks(root / record.file, record, range(row_offset, stop, per_block), stop, row_bytes)


def _blocks(path: Path, record: ArtifactRecord, starts: range, stop: int, row_bytes: int) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise DataLossError(f"{record.key}: the server lost this file.") from error
    with file:
        head = 0 if record.is_file else _header_bytes(file)
        if os.fstat(file.fileno()).st_size != head + record.byte_count:
            raise DataLossError(f"{record.key}: the server's file is not as long as it was written.")
        for start in starts:
            wanted = (min(start + starts.step, stop) - start) * row_bytes
            fill = partial(_read, file.fileno(), head + start * row_bytes, record.key)
            yield chunks.encode_block(start, wanted, fill)


def _read(file: int, place: int, key: str, into: memoryview) -> None:
    """Fill ``into`` with what stands in the file from ``place`` on."""
    done = 0
    while done < len(into):
        count = os.preadv(file, [into[done:]], place + done)
        if not count:
            raise DataLossError(f"{key}: the server's file is too short.")
        done += count


def _header_bytes(file: BinaryIO) -> int:
    """Length of a .npy header of version 1, with what stands before it."""
    start = file.read(10)
    return 10 + int.from_bytes(start[8:10], "little")
