"""ImportDataset: reads what a URI names into a data set of the server's own."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from fastclust import progress
from fastclust.errors import DataError, InputError, OverloadedError
from fastclust.v1 import common_pb2, dataset_pb2
from fastclust_server import names
from fastclust_server.storage.catalog import DatasetRecord
from fastclust_server.storage.content import Checker, count_rows, npy_header
from fastclust_server.storage.folder import sync_folder
from fastclust_server.storage.places import check_uri, open_uri

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastclust.data.parquet_images import ImageRows
    from fastclust.v1.spec_pb2 import ImportSpec
    from fastclust_server.config import Settings
    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["STEPS", "check", "check_import", "run"]

STEPS = {"fetch": 0.5, "check": 0.5}

_BLOCK = 4 * 2**20
_ROWS = 65_536
#: Readers of these take what stands in the file itself. HDF5 and Zarr can name other files, so they stay outside.
_TENSORS = (".npy", ".fbin", ".u8bin", ".i8bin", ".ibin", ".fvecs", ".bvecs", ".ivecs", ".parquet", ".pq", ".arrow")
_PARQUET = (".parquet", ".pq")
_SUFFIXES: dict[int, tuple[str, ...]] = {
    common_pb2.DATASET_KIND_TENSOR: _TENSORS,
    common_pb2.DATASET_KIND_IMAGES: (".tar", *_PARQUET),
    common_pb2.DATASET_KIND_LABELS: (".csv", ".npy"),
}


def check_import(spec: ImportSpec, settings: Settings) -> None:
    """Check a spec; nothing is opened yet."""
    check_uri(spec.uri, settings)
    suffixes = _SUFFIXES.get(spec.dataset_kind)
    if suffixes is None:
        allowed = ", ".join(common_pb2.DatasetKind.Name(common_pb2.DatasetKind.ValueType(kind)) for kind in _SUFFIXES)
        raise InputError("kind", spec.dataset_kind, allowed)
    if _suffix(spec.uri) not in suffixes:
        raise InputError("uri", repr(spec.uri[:200]), f"a name that ends with {', '.join(suffixes)}")


def check(spec: ImportSpec, inputs: Inputs) -> None:
    """Check a spec that came by CreateJob."""
    check_import(spec, inputs.settings)


def _suffix(uri: str) -> str:
    name = uri.partition("?")[0].rsplit("/", 1)[-1]
    return "." + name.rsplit(".", 1)[-1].lower() if "." in name else ""


def run(spec: ImportSpec, work: Work) -> None:
    """Fetch into the job's folder, check, and leave a data set."""
    check_import(spec, work.settings)
    room = work.settings.owner_bytes - work.owner_bytes()
    fetched = work.folder / f"fetched{_suffix(spec.uri)}"
    _fetch(spec.uri, fetched, room, work.settings)
    if spec.dataset_kind == common_pb2.DATASET_KIND_IMAGES and fetched.suffix in _PARQUET:
        fetched = _packed(fetched, room)
    dataset = names.new_id()
    target = work.datasets_folder() / f"{dataset}{_stored_suffix(spec, fetched)}"
    try:
        content, checker = _store(spec, fetched, target)
        rows = count_rows(target, content, work.settings.image_pixels)
        _check_rows(rows, work.settings.dataset_rows)
        sync_folder(target.parent)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    fetched.unlink(missing_ok=True)
    work.imported = DatasetRecord(
        number=0,
        id=dataset,
        owner=work.owner,
        display_name=spec.display_name,
        kind=spec.dataset_kind,
        content=content.SerializeToString(deterministic=True),
        file=target.name,
        row_count=rows,
        byte_count=checker.position,
        crc32c=checker.crc32c,
        created=time.time(),
    )
    work.metric(rows=rows, bytes=checker.position)


def _check_rows(rows: int, most: int) -> None:
    if rows > most:
        raise InputError("uri", f"{rows} rows", f"at most {most} on this server")


def _fetch(uri: str, target: Path, room: int, settings: Settings) -> None:
    stream, size, _ = open_uri(uri, settings)
    done = 0
    with stream, target.open("wb") as file:
        while block := stream.read(_BLOCK):
            done += len(block)
            if done > room:
                raise OverloadedError(f"{uri} is larger than the {max(room, 0)} bytes that you may still keep.")
            file.write(block)
            progress.report("fetch", min(done, size or done), size or done + _BLOCK, f"{done / 1e6:.0f} MB")
    if size is not None and done != size:
        raise DataError(f"{uri}: broke off after {done} of {size} bytes.")


def _packed(fetched: Path, room: int) -> Path:
    """Bring images out of Parquet to the tar that images are stored as; nothing is decoded yet."""
    from fastclust.data import write_image_tar
    from fastclust.data.parquet_images import ImageRows

    class Counted(ImageRows):
        """Compressed bytes may become many."""

        taken = 0

        def encoded(self, row: int) -> bytes:
            data = super().encoded(row)
            self.taken += len(data)
            if self.taken > room:
                raise OverloadedError(
                    f"uri: its images take more than the {max(room, 0)} bytes that you may still keep."
                )
            return data

    try:
        rows = Counted(fetched)
        tar = write_image_tar(rows, fetched.with_suffix(".tar"), include_labels=_all_known(rows))
    except DataError as error:
        raise DataError(str(error).replace(str(fetched), "uri")) from error
    fetched.unlink()
    return tar


def _all_known(rows: ImageRows) -> bool:
    """Whether folders can name the labels: that needs one for every image."""
    return rows.labels is not None and bool((rows.labels >= 0).all())


def _stored_suffix(spec: ImportSpec, fetched: Path) -> str:
    return ".npy" if spec.dataset_kind == common_pb2.DATASET_KIND_TENSOR else fetched.suffix


def _store(spec: ImportSpec, fetched: Path, target: Path) -> tuple[dataset_pb2.Dataset, Checker]:
    """Write the payload as uploads are stored, checked on the way."""
    content, head, pieces = _plan(spec, fetched)
    checker = Checker(content.SerializeToString())
    with target.open("xb") as file:
        file.write(head)
        for piece in pieces:
            checker.add(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    if checker.bad is not None:
        raise checker.bad
    return content, checker


def _plan(spec: ImportSpec, fetched: Path) -> tuple[dataset_pb2.Dataset, bytes, Iterator[bytes]]:
    import numpy as np

    from fastclust import wire
    from fastclust.data.npy import open_npy

    if spec.dataset_kind == common_pb2.DATASET_KIND_IMAGES:
        return dataset_pb2.Dataset(images=dataset_pb2.ImagesSpec()), b"", _bytes(fetched)
    if spec.dataset_kind == common_pb2.DATASET_KIND_LABELS:
        if fetched.suffix == ".csv":
            labels = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_CSV)
            return dataset_pb2.Dataset(labels=labels), b"", _bytes(fetched)
        found = open_npy(fetched)
        if found.ndim != 1 or not len(found) or found.dtype.kind not in "iu":
            raise InputError("uri", f"{found.dtype} {list(found.shape)}", "integers [n]")
        rows = dataset_pb2.LabelsSpec(encoding=dataset_pb2.LABELS_ENCODING_ROWS_INT64, row_count=len(found))
        head = npy_header(np.dtype("<i8"), [len(found)])
        return dataset_pb2.Dataset(labels=rows), head, iter([np.ascontiguousarray(found, "<i8").tobytes()])
    from fastclust.data import open_rows

    source = open_rows(fetched)
    dtype = source.dtype.newbyteorder("<")
    tensor = wire.spec_of(dtype, source.shape, "uri")
    return dataset_pb2.Dataset(tensor=tensor), npy_header(dtype, list(source.shape)), _blocks(source, dtype)


def _bytes(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _blocks(source: Any, dtype: Any) -> Iterator[bytes]:
    import numpy as np

    done = 0
    for block in source.blocks(_ROWS):
        done += len(block)
        progress.report("check", done, len(source), f"{done} rows")
        yield np.ascontiguousarray(block, dtype).tobytes()
