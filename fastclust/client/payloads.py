"""What is uploaded: bytes that can be read from any place, with a kind and a description."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fastclust import wire
from fastclust.checksums import Whole
from fastclust.client.archive import pack_folder
from fastclust.errors import DataError, InputError, InputTypeError, NotFoundError
from fastclust.v1 import common_pb2, dataset_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["CHUNK", "Payload", "labels_payload", "payload_of"]

#: What to do with files that the client does not read itself.
_PARQUET = (
    " Of Parquet, send fastclust.open_rows(path).read() or, where it holds images, the tar that "
    "fastclust.data.write_image_tar(fastclust.open_images(path), ...) writes; or have the server import it."
)
#: Fastest size of a message for gRPC's Python streams.
CHUNK = 2**20


@dataclass
class Payload:
    """Bytes to send, and what they are."""

    request: dataset_pb2.CreateUploadRequest
    #: In memory, or in a file.
    view: memoryview | None = None
    file: BinaryIO | None = None
    #: Keeps a temporary file alive.
    keep: Any = field(default=None, repr=False)
    #: Checksum of the bytes that were read in order, and how many they are.
    _whole: Whole = field(default_factory=Whole, repr=False)
    _summed: int = 0

    @property
    def size(self) -> int:
        """Bytes in all."""
        return int(self.request.byte_count)

    def chunks(self, start: int) -> Iterator[tuple[int, memoryview, int]]:
        """Yield (offset, data, CRC32C of the data) from ``start`` on."""
        for offset in range(start, self.size, CHUNK):
            if self.view is not None:
                data = self.view[offset : offset + CHUNK]
            else:
                assert self.file is not None
                data = memoryview(os.pread(self.file.fileno(), min(CHUNK, self.size - offset), offset))
            crc = wire.crc32c(data)
            if offset == self._summed:
                self._whole.add(data, crc)
                self._summed += len(data)
            yield offset, data, crc

    def crc32c(self) -> int:
        """Checksum of the whole; what was sent in order is not read again."""
        for _ in self.chunks(self._summed):
            pass
        return self._whole.value

    def close(self) -> None:
        """Let go of files."""
        if self.file is not None:
            self.file.close()
        if self.keep is not None:
            self.keep.cleanup()


def payload_of(source: Any, name: str | None) -> Payload:
    """Make a payload of an array, a memory map, a ``.npy`` file, a tar of images or a folder of images.

    Raises
    ------
    InputError, InputTypeError
        Empty arrays, NaN or Inf, dtypes without a place on the wire; before a byte is sent.
    DataError, NotFoundError
        Files that cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.exists():
            raise NotFoundError(f"{path}: no such file or folder.")
        if path.is_dir():
            return _of_folder(path, name)
        if path.suffix == ".tar":
            return _of_tar(path, name or path.stem)
        if path.suffix != ".npy":
            fix = _PARQUET if path.suffix in (".parquet", ".pq") else ""
            raise DataError(f"{path}: allowed are a .npy file, a .tar of images, or a folder of images.{fix}")
        try:
            source = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(f"{path}: not a readable .npy file ({error}).") from error
        name = name or path.stem
    return _of_array(_as_array(source), name or "", "X")


def labels_payload(labels: Any, name: str | None) -> Payload:
    """Make a payload of labels: integers ``[n]``, -1 where unknown, or a CSV file ``id,label``."""
    if isinstance(labels, str | os.PathLike) and Path(labels).suffix == ".csv":
        file = Path(labels).open("rb")  # noqa: SIM115 - closed with the payload
        spec = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_CSV)
        size = os.fstat(file.fileno()).st_size
        return Payload(_request(common_pb2.DATASET_KIND_LABELS, name or "", size, labels=spec), file=file)
    array = np.load(labels, allow_pickle=False) if isinstance(labels, str | os.PathLike) else np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise InputTypeError("labels", f"dtype {array.dtype}", "integers, -1 where unknown")
    if array.ndim != 1 or not len(array):
        raise InputError("labels", f"shape {array.shape}", "one dimension, at least one row")
    rows = np.ascontiguousarray(array, "<i8")
    spec = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_ROWS_INT64, row_count=len(rows))
    request = _request(common_pb2.DATASET_KIND_LABELS, name or "", rows.nbytes, labels=spec)
    return Payload(request, rows.data.cast("B"))


def _as_array(source: Any) -> NDArray[Any]:
    if isinstance(source, np.ndarray):
        return source
    if hasattr(source, "tocsr"):
        raise InputTypeError("X", "a sparse matrix", "a dense array", "Call .toarray().")
    if hasattr(source, "detach"):
        source = source.detach().cpu()
    return np.asarray(source)


def _of_array(array: NDArray[Any], name: str, field: str) -> Payload:
    spec = wire.spec_of(array.dtype, array.shape, field)
    if array.ndim == 0 or array.size == 0:
        raise InputError(field, f"shape {array.shape}", "at least one row and one column")
    if array.dtype.kind == "f":
        _check_finite(array, field)
    rows = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    request = _request(common_pb2.DATASET_KIND_TENSOR, name, rows.nbytes, tensor=spec)
    return Payload(request, rows.data.cast("B"))


def _check_finite(array: NDArray[Any], field: str) -> None:
    # Blocks that stay in the cache.
    rows = max(1, CHUNK // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        block = array[start : start + rows]
        finite = np.isfinite(block)
        if not finite.all():
            place = np.argwhere(~finite)[0]
            column = f", column {place[1]}" if len(place) > 1 else ""
            came = f"{block[tuple(place)]} at row {start + place[0]}{column}"
            raise InputError(field, came, "finite numbers: no NaN, no Inf")


def _of_folder(path: Path, name: str | None) -> Payload:
    temporary = tempfile.TemporaryDirectory(prefix="fastclust-")
    try:
        payload = _of_tar(pack_folder(path, Path(temporary.name) / "images.tar"), name or path.name)
    except BaseException:
        temporary.cleanup()
        raise
    payload.keep = temporary
    return payload


def _of_tar(path: Path, name: str) -> Payload:
    file = path.open("rb")
    size = os.fstat(file.fileno()).st_size
    if not size:
        file.close()
        raise InputError("images", f"{path}: 0 bytes", "a tar with at least one image")
    return Payload(_request(common_pb2.DATASET_KIND_IMAGES, name, size, images=dataset_pb2.ImagesSpec()), file=file)


def _request(
    kind: common_pb2.DatasetKind.ValueType, name: str, size: int, **content: Any
) -> dataset_pb2.CreateUploadRequest:
    return dataset_pb2.CreateUploadRequest(display_name=name, kind=kind, byte_count=size, **content)
