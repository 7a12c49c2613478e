"""Uploads and data sets as rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from fastclust.errors import AlreadyExistsError, NotFoundError, PreconditionError, StorageFullError
from fastclust.v1 import common_pb2, dataset_pb2
from fastclust_server.database import datasets, uploads
from fastclust_server.jobs.records import timestamp
from fastclust_server.jobs.rows import active_reader
from fastclust_server.storage.quota import must_fit, owner_bytes

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from fastclust_server.database import Database

__all__ = ["Catalog", "DatasetRecord", "UploadRecord", "encode_dataset", "encode_upload"]


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """One row of the uploads table. ``content`` is a Dataset of which only the content is set, serialised."""

    id: str
    owner: str
    request_id: str | None
    request_digest: str
    display_name: str
    kind: int
    content: bytes
    file: str
    head_bytes: int
    byte_count: int
    persisted_bytes: int
    dataset: str | None
    created: float
    expires: float

    @property
    def name(self) -> str:
        """Resource name."""
        return f"uploads/{self.id}"


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """One row of the datasets table."""

    number: int
    id: str
    owner: str
    display_name: str
    kind: int
    content: bytes
    file: str
    row_count: int
    byte_count: int
    crc32c: int
    created: float

    @property
    def name(self) -> str:
        """Resource name."""
        return f"datasets/{self.id}"

    @property
    def tensor(self) -> common_pb2.TensorSpec:
        """What a TENSOR data set is; empty for other kinds."""
        return dataset_pb2.Dataset.FromString(self.content).tensor


class Catalog:
    """Uploads and data sets, always within one owner. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_request(self, owner: str, request_id: str, digest: str) -> UploadRecord | None:
        """Return the upload that this request id made before. Raises AlreadyExistsError if it asked for another."""
        if not request_id:
            return None
        query = sa.select(uploads).where(uploads.c.owner == owner, uploads.c.request_id == request_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        found = _upload(row)
        if found.request_digest != digest:
            raise AlreadyExistsError(f"request_id {request_id!r} belongs to {found.name}, which is another upload.")
        return found

    def create_upload(self, record: UploadRecord, room: int, most: int = 2**62) -> None:
        """Insert a row.

        Raises
        ------
        StorageFullError
            What all uploads still lack, with this one, is over ``room``.
        OverloadedError
            The owner would keep more than ``most`` bytes.
        """
        lacking = sa.select(sa.func.coalesce(sa.func.sum(uploads.c.byte_count - uploads.c.persisted_bytes), 0))
        with self._database.write() as connection:
            promised = int(connection.execute(lacking.where(uploads.c.dataset.is_(None))).scalar_one())
            if promised + record.byte_count > room:
                raise StorageFullError(
                    f"The upload needs {record.byte_count} bytes; the server's disk has "
                    f"{max(room - promised, 0)} bytes that are not promised to other uploads."
                )
            must_fit(connection, record.owner, record.byte_count, most, "upload")
            values = {name: getattr(record, name) for name in UploadRecord.__slots__}
            connection.execute(sa.insert(uploads).values(values))

    def owner_bytes(self, owner: str) -> int:
        """Return what an owner keeps: uploads as declared, data sets, and results of jobs."""
        with self._database.read() as connection:
            return owner_bytes(connection, owner)

    def get_upload(self, owner: str, upload: str) -> UploadRecord:
        """Return one upload. Raises NotFoundError, for another owner's too."""
        query = sa.select(uploads).where(uploads.c.id == upload, uploads.c.owner == owner)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise NotFoundError(f"uploads/{upload}: no such upload. It may have expired.")
        return _upload(row)

    def persisted(self, upload: str, persisted_bytes: int, expires: float) -> None:
        """Acknowledge bytes that are on disk. Never goes back."""
        which = sa.and_(uploads.c.id == upload, uploads.c.persisted_bytes < persisted_bytes)
        with self._database.write() as connection:
            values = {"persisted_bytes": persisted_bytes, "expires": expires}
            connection.execute(sa.update(uploads).where(which).values(values))

    def finish(self, upload: UploadRecord, *, row_count: int, crc32c: int) -> DatasetRecord:
        """Make the data set, in one transaction with the upload's end."""
        values = {
            "id": upload.id,
            "owner": upload.owner,
            "display_name": upload.display_name,
            "kind": upload.kind,
            "content": upload.content,
            "file": upload.file,
            "row_count": row_count,
            "byte_count": upload.byte_count,
            "crc32c": crc32c,
            "created": time.time(),
        }
        with self._database.write() as connection:
            row = connection.execute(sa.insert(datasets).values(values).returning(datasets)).mappings().one()
            connection.execute(sa.update(uploads).where(uploads.c.id == upload.id).values(dataset=upload.id))
        return _dataset(row)

    def delete_upload(self, upload: str) -> None:
        """Remove a row."""
        with self._database.write() as connection:
            connection.execute(sa.delete(uploads).where(uploads.c.id == upload))

    def expired_uploads(self) -> list[UploadRecord]:
        """Return uploads that nobody went on with, finished ones too: their data sets stand for themselves."""
        with self._database.read() as connection:
            query = sa.select(uploads).where(uploads.c.expires < time.time())
            return [_upload(row) for row in connection.execute(query).mappings()]

    def upload_files(self) -> set[str]:
        """Return file names of unfinished uploads."""
        with self._database.read() as connection:
            return set(connection.execute(sa.select(uploads.c.file).where(uploads.c.dataset.is_(None))).scalars())

    def get_dataset(self, owner: str, dataset: str) -> DatasetRecord:
        """Return one data set. Raises NotFoundError, for another owner's too."""
        query = sa.select(datasets).where(datasets.c.id == dataset, datasets.c.owner == owner)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise NotFoundError(f"datasets/{dataset}: no such data set.")
        return _dataset(row)

    def page_datasets(self, owner: str, kind: int, limit: int, before: int | None) -> list[DatasetRecord]:
        """Return data sets, newest first."""
        query = sa.select(datasets).where(datasets.c.owner == owner).order_by(datasets.c.number.desc()).limit(limit)
        if kind:
            query = query.where(datasets.c.kind == kind)
        if before is not None:
            query = query.where(datasets.c.number < before)
        with self._database.read() as connection:
            return [_dataset(row) for row in connection.execute(query).mappings()]

    def delete_dataset(self, owner: str, dataset: str) -> None:
        """Remove a row, and that of its upload. Raises PreconditionError while a job reads the data set."""
        with self._database.write() as connection:
            reader = active_reader(connection, owner, f"datasets/{dataset}")
            if reader is not None:
                raise PreconditionError(f"datasets/{dataset} is read by {reader}. Cancel it or let it end first.")
            connection.execute(sa.delete(datasets).where(datasets.c.id == dataset))
            connection.execute(sa.delete(uploads).where(uploads.c.id == dataset))

    def dataset_files(self) -> set[str]:
        """Return file names of data sets."""
        with self._database.read() as connection:
            return set(connection.execute(sa.select(datasets.c.file)).scalars())


def _upload(row: RowMapping) -> UploadRecord:
    return UploadRecord(**{name: row[name] for name in UploadRecord.__slots__})


def _dataset(row: RowMapping) -> DatasetRecord:
    return DatasetRecord(**{name: row[name] for name in DatasetRecord.__slots__})


def encode_dataset(record: DatasetRecord) -> dataset_pb2.Dataset:
    """Build the Dataset that a client sees."""
    message = dataset_pb2.Dataset.FromString(record.content)
    message.name = record.name
    message.owner = record.owner
    message.display_name = record.display_name
    message.kind = common_pb2.DatasetKind.ValueType(record.kind)
    message.row_count = record.row_count
    message.byte_count = record.byte_count
    message.crc32c = record.crc32c
    message.create_time.CopyFrom(timestamp(record.created))
    return message


def encode_upload(record: UploadRecord) -> dataset_pb2.UploadSession:
    """Build the UploadSession that a client sees."""
    content = dataset_pb2.Dataset.FromString(record.content)
    message = dataset_pb2.UploadSession(
        name=record.name,
        owner=record.owner,
        display_name=record.display_name,
        kind=common_pb2.DatasetKind.ValueType(record.kind),
        byte_count=record.byte_count,
        persisted_bytes=record.persisted_bytes,
        dataset=f"datasets/{record.dataset}" if record.dataset else "",
        create_time=timestamp(record.created),
        expire_time=timestamp(record.expires),
    )
    which = content.WhichOneof("content")
    if which is not None:
        getattr(message, which).CopyFrom(getattr(content, which))
    return message
