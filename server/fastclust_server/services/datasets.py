"""DatasetService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from fastclust.ahead import ahead
from fastclust.errors import InputError
from fastclust.v1 import dataset_pb2, dataset_pb2_grpc, spec_pb2
from fastclust_server import calls, log, names
from fastclust_server.jobs.records import NewJob, encode_job
from fastclust_server.jobs.tasks.importing import check_import
from fastclust_server.storage.catalog import encode_dataset, encode_upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc

    from fastclust.chunks import Chunk
    from fastclust.v1 import job_pb2
    from fastclust_server.config import Settings
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.stalls import Stalls
    from fastclust_server.storage.catalog import Catalog
    from fastclust_server.storage.folder import DataFolder
    from fastclust_server.storage.uploads import Uploads

__all__ = ["DatasetService"]


class DatasetService(dataset_pb2_grpc.DatasetServiceServicer):
    """Uploads and data sets."""

    def __init__(
        self,
        folder: DataFolder,
        catalog: Catalog,
        store: JobStore,
        uploads: Uploads,
        stalls: Stalls,
        settings: Settings,
        changed: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._catalog = catalog
        self._store = store
        self._uploads = uploads
        self._stalls = stalls
        self._settings = settings
        self._changed = changed

    @override
    def CreateUpload(
        self, request: dataset_pb2.CreateUploadRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.UploadSession:
        """Reserve space for a payload."""
        call = calls.current()
        record = self._uploads.create(call.owner, request)
        log.event("upload_created", request=call.request, upload=record.name, bytes=record.byte_count)
        return encode_upload(record)

    @override
    def Upload(  # type: ignore[override] # chunks are parsed by our own hand
        self, request_iterator: Iterator[Chunk], context: grpc.ServicerContext
    ) -> dataset_pb2.UploadResponse:
        """Write chunks. However the stream ends, what came is synced and acknowledged."""
        owner, writer = calls.current().owner, None
        try:
            with self._stalls.watching(context):
                for request in ahead(request_iterator):
                    self._stalls.moved(context)
                    name = request.name
                    if writer is None:
                        writer = self._uploads.writer(owner, names.parse(name, "uploads"))
                    elif name and name != writer.record.name:
                        allowed = f"{writer.record.name} in all of the stream, or nothing"
                        raise InputError("name", repr(name[:100]), allowed)
                    writer.add(request.offset, request.data, request.crc32c, request.came)
            if writer is None:
                raise InputError("name", "an empty stream", "at least one message")
        finally:
            if writer is not None:
                self._uploads.done(writer)
        return dataset_pb2.UploadResponse(name=writer.record.name, persisted_bytes=writer.persisted)

    @override
    def GetUpload(
        self, request: dataset_pb2.GetUploadRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.UploadSession:
        """Say how far an upload is."""
        upload = names.parse(request.name, "uploads")
        return encode_upload(self._catalog.get_upload(calls.current().owner, upload))

    @override
    def FinishUpload(
        self, request: dataset_pb2.FinishUploadRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.Dataset:
        """Check the payload and make the data set."""
        call, upload = calls.current(), names.parse(request.name, "uploads")
        record = self._uploads.finish(call.owner, upload, request.checksum)
        log.event("dataset_created", request=call.request, dataset=record.name, bytes=record.byte_count)
        return encode_dataset(record)

    @override
    def DeleteUpload(
        self, request: dataset_pb2.DeleteUploadRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.DeleteUploadResponse:
        """Forget an upload."""
        upload = names.parse(request.name, "uploads")
        self._uploads.delete(calls.current().owner, upload)
        return dataset_pb2.DeleteUploadResponse()

    @override
    def ImportDataset(self, request: dataset_pb2.ImportDatasetRequest, context: grpc.ServicerContext) -> job_pb2.Job:
        """Queue the import of what an allowed URI names."""
        call = calls.current()
        names.check_text("display_name", request.display_name, 200)
        names.check_text("request_id", request.request_id, 128)
        spec = spec_pb2.ImportSpec(uri=request.uri, dataset_kind=request.kind, display_name=request.display_name)
        check_import(spec, self._settings)
        whole = spec_pb2.JobSpec()
        getattr(whole, "import").CopyFrom(spec)  # a word of Python's
        new = NewJob(
            call.owner, "import", whole.SerializeToString(deterministic=True), request.display_name, request.request_id
        )
        record = self._store.create(new)
        log.event("job_created", request=call.request, job=record.name, kind=record.kind, owner=call.owner)
        self._changed()
        return encode_job(record)

    @override
    def GetDataset(self, request: dataset_pb2.GetDatasetRequest, context: grpc.ServicerContext) -> dataset_pb2.Dataset:
        """Describe one data set."""
        dataset = names.parse(request.name, "datasets")
        return encode_dataset(self._catalog.get_dataset(calls.current().owner, dataset))

    @override
    def ListDatasets(
        self, request: dataset_pb2.ListDatasetsRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.ListDatasetsResponse:
        """List data sets, newest first."""
        owner, kind, size = calls.current().owner, int(request.kind), names.page_size(request.page_size)
        before = names.read_token(request.page_token, "datasets", owner, kind)
        found = self._catalog.page_datasets(owner, kind, size, before)
        token = names.write_token(found[-1].number, "datasets", owner, kind) if len(found) == size else ""
        datasets = [encode_dataset(record) for record in found]
        return dataset_pb2.ListDatasetsResponse(datasets=datasets, next_page_token=token)

    @override
    def DeleteDataset(
        self, request: dataset_pb2.DeleteDatasetRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.DeleteDatasetResponse:
        """Remove a data set that no unfinished job reads."""
        call, dataset = calls.current(), names.parse(request.name, "datasets")
        record = self._catalog.get_dataset(call.owner, dataset)
        self._catalog.delete_dataset(call.owner, dataset)
        (self._folder.datasets / record.file).unlink(missing_ok=True)
        log.event("dataset_deleted", request=call.request, dataset=record.name)
        return dataset_pb2.DeleteDatasetResponse()
