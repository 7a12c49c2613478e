"""Uploads on disk: reserve, write what comes in order, acknowledge what is synced, check, publish.

The order that a crash must not upset: file synced, folder synced, then the row.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError

from fastclust import wire
from fastclust.errors import DataLossError, InputError, PreconditionError
from fastclust_server import names
from fastclust_server.storage.catalog import UploadRecord
from fastclust_server.storage.content import Checker, check_declared, check_payload
from fastclust_server.storage.folder import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from fastclust.v1 import common_pb2, dataset_pb2
    from fastclust_server.config import Settings
    from fastclust_server.storage.catalog import Catalog, DatasetRecord
    from fastclust_server.storage.folder import DataFolder

__all__ = ["UploadWriter", "Uploads"]

#: Bytes between two syncs: what a crash may cost the sender.
SYNC_BYTES = 16 * 2**20
#: What the disk must keep for the database and for results.
_SPARE_BYTES = 64 * 2**20


class Uploads:
    """Everything that happens to an upload. Blocking: call it from a thread that may wait for the disk."""

    def __init__(
        self,
        folder: DataFolder,
        catalog: Catalog,
        settings: Settings,
        received: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._folder = folder
        self._catalog = catalog
        self._settings = settings
        self._keep_seconds = settings.keep_uploads * 3600.0
        self._received = received
        #: What was checked while it came, of unfinished uploads; after a restart it is read again at the end.
        self._checkers: dict[str, Checker] = {}
        self._guard = threading.Lock()
        self._writers: dict[str, UploadWriter] = {}
        self._finishing: dict[str, threading.Lock] = {}

    def create(self, owner: str, request: dataset_pb2.CreateUploadRequest) -> UploadRecord:
        """Check what is declared and reserve its space. The same request id again returns the same upload.

        Raises
        ------
        InputError, InputTypeError
            Nothing like that can be stored.
        StorageFullError
            The disk has no room that is not promised.
        OverloadedError
            The owner has no room.
        AlreadyExistsError
            The request id belongs to another upload.
        """
        content, suffix, head = check_declared(request)
        rows = next(iter(request.tensor.shape), 1) if request.HasField("tensor") else 1
        if rows > self._settings.dataset_rows:
            raise InputError("array", f"{rows} rows", f"at most {self._settings.dataset_rows} on this server")
        names.check_text("display_name", request.display_name, 200)
        names.check_text("request_id", request.request_id, 128)
        digest = hashlib.sha256(content + request.byte_count.to_bytes(8, "little")).hexdigest()
        found = self._catalog.find_request(owner, request.request_id, digest)
        if found is not None:
            return found
        upload, now = names.new_id(), time.time()
        record = UploadRecord(
            id=upload,
            owner=owner,
            request_id=request.request_id or None,
            request_digest=digest,
            display_name=request.display_name,
            kind=request.kind,
            content=content,
            file=f"{upload}{suffix}",
            head_bytes=len(head),
            byte_count=request.byte_count,
            persisted_bytes=0,
            dataset=None,
            created=now,
            expires=now + self._keep_seconds,
        )
        path = self._folder.uploads / record.file
        try:
            with path.open("xb") as file:
                file.write(head)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._folder.uploads)
            self._catalog.create_upload(record, self._folder.free_bytes() - _SPARE_BYTES, self._settings.owner_bytes)
        except IntegrityError:
            # The same request came twice at once, and the other was first.
            path.unlink(missing_ok=True)
            found = self._catalog.find_request(owner, request.request_id, digest)
            if found is None:
                raise
            return found
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return record

    def writer(self, owner: str, upload: str) -> UploadWriter:
        """Open an upload for writing. An earlier stream into it, cut off perhaps, loses the right to write."""
        self._catalog.get_upload(owner, upload)  # no one but its owner may disturb an upload
        with self._guard:
            earlier = self._writers.get(upload)
            if earlier is not None:
                earlier.close()
            record = self._catalog.get_upload(owner, upload)
            if record.dataset is not None:
                raise PreconditionError(f"{record.name} is finished: datasets/{record.dataset}.")
            checker = self._checkers.get(upload)
            if checker is None or checker.position > record.persisted_bytes:
                # What it saw beyond was never stored, or will be stored anew: all is read again at the end.
                checker = Checker(record.content)
            self._checkers[upload] = checker
            self._writers[upload] = writer = UploadWriter(
                self._folder, self._catalog, record, checker, self._received, self._keep_seconds
            )
        return writer

    def done(self, writer: UploadWriter) -> None:
        """Close ``writer``; what it wrote is synced and acknowledged."""
        writer.close()
        with self._guard:
            if self._writers.get(writer.record.id) is writer:
                del self._writers[writer.record.id]

    def finish(self, owner: str, upload: str, checksum: common_pb2.Checksum) -> DatasetRecord:
        """Check size, checksum and content, and make the data set; once made, return it again.

        Raises
        ------
        InputError
            Bytes are missing, or the content is not what was declared.
        DataLossError
            The checksum differs.
        """
        with self._guard:
            turn = self._finishing.setdefault(upload, threading.Lock())
        try:
            with turn:
                return self._finish(owner, upload, checksum)
        finally:
            with self._guard:
                self._finishing.pop(upload, None)

    def _finish(self, owner: str, upload: str, checksum: common_pb2.Checksum) -> DatasetRecord:
        record = self._catalog.get_upload(owner, upload)
        if record.dataset is not None:
            return self._catalog.get_dataset(owner, record.dataset)
        with self._guard:
            writing = self._writers.get(upload)
        if writing is not None:
            self.done(writing)  # a stream that was cut off and not noticed yet
            record = self._catalog.get_upload(owner, upload)
        if record.persisted_bytes != record.byte_count:
            raise InputError(
                "upload",
                f"{record.persisted_bytes} bytes",
                f"{record.byte_count} bytes, as declared",
                f"Send the rest, from byte {record.persisted_bytes}.",
            )
        source, target = self._folder.uploads / record.file, self._folder.datasets / record.file
        with self._guard:
            checker = self._checkers.pop(upload, None) or Checker(record.content)
        row_count, crc32c = check_payload(source, record, checksum, checker, most_pixels=self._settings.image_pixels)
        source.rename(target)
        sync_folder(self._folder.datasets)
        sync_folder(self._folder.uploads)
        try:
            return self._catalog.finish(record, row_count=row_count, crc32c=crc32c)
        except BaseException:
            target.rename(source)
            raise

    def delete(self, owner: str, upload: str) -> None:
        """Forget an upload and give its space back; the data set of a finished one stays."""
        record = self._catalog.get_upload(owner, upload)
        with self._guard:
            writing = self._writers.get(upload)
        if writing is not None:
            self.done(writing)
        with self._guard:
            self._checkers.pop(upload, None)
        self._catalog.delete_upload(record.id)
        if record.dataset is None:
            (self._folder.uploads / record.file).unlink(missing_ok=True)

    def expire(self) -> int:
        """Forget uploads that nobody went on with; return how many."""
        expired = self._catalog.expired_uploads()
        for record in expired:
            self.delete(record.owner, record.id)
        return len(expired)


class UploadWriter:
    """Writes one stream of chunks. Chunks come in order; what is persisted already is skipped."""

    def __init__(
        self,
        folder: DataFolder,
        catalog: Catalog,
        record: UploadRecord,
        checker: Checker,
        received: Callable[[int], None],
        keep_seconds: float,
    ) -> None:
        self.record = record
        self._catalog = catalog
        self._checker = checker
        self._received = received
        self._keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._syncing = False
        self._trouble: Exception | None = None
        self._syncer = ThreadPoolExecutor(1, "sync")
        path = folder.uploads / record.file
        try:
            self._file: int | None = os.open(path, os.O_WRONLY)
        except FileNotFoundError as error:
            raise DataLossError(f"{record.name}: the server lost its file. Begin a new upload.") from error
        #: Next byte of the payload to be written.
        self.position = record.persisted_bytes
        #: Bytes acknowledged: on disk.
        self.persisted = record.persisted_bytes

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def add(self, offset: int, data: bytes | memoryview, crc32c: int, came: int | None = None) -> None:
        """Write one chunk; ``came`` is the checksum of ``data``, where it was computed already.

        Raises
        ------
        DataLossError
            The chunk's checksum differs.
        InputError
            It leaves a gap, or goes beyond the declared size.
        PreconditionError
            Another stream took this upload over.
        """
        record = self.record
        wire.verify(data, crc32c, f"{record.name}, chunk at byte {offset}", came)
        with self._lock:
            if self._file is None:
                raise PreconditionError(f"{record.name}: another stream goes on with this upload.")
            if offset < 0 or offset > self.position:
                raise InputError("offset", offset, f"0..{self.position}", f"The next byte is {self.position}.")
            end = offset + len(data)
            if end > record.byte_count:
                raise InputError(
                    "data", f"{len(data)} bytes at byte {offset}", f"{record.byte_count} bytes in all, as declared"
                )
            rest = memoryview(data)[max(self.position - offset, 0) :]
            if len(rest) and self._checker.position == self.position:
                self._checker.add(rest, crc32c if len(rest) == len(data) else None)
            self._received(len(rest))
            while rest:
                written = os.pwrite(self._file, rest, record.head_bytes + self.position)
                self.position += written
                rest = rest[written:]
            if self._trouble is not None:
                raise self._trouble
            if self.position - self.persisted >= SYNC_BYTES and not self._syncing:
                # The stream goes on meanwhile.
                self._syncing = True
                self._syncer.submit(self._sync_aside, self._file, self.position)

    def close(self) -> None:
        """Sync, acknowledge and close."""
        with self._lock:
            file, self._file = self._file, None
            if file is None:
                return
            self._syncer.shutdown()
            try:
                # After a sync that failed, a second one may succeed although bytes were lost.
                if self._trouble is not None:
                    raise self._trouble
                self._sync(file, self.position)
            finally:
                os.close(file)

    def _sync(self, file: int, position: int) -> None:
        """Have what was written up to ``position`` on disk, then say so."""
        if position > self.persisted:
            os.fsync(file)
            self._catalog.persisted(self.record.id, position, time.time() + self._keep_seconds)
            self.persisted = position

    def _sync_aside(self, file: int, position: int) -> None:
        try:
            self._sync(file, position)
        except Exception as error:  # noqa: BLE001 - raised again in the stream's own thread
            self._trouble = error
        finally:
            self._syncing = False
