"""DatasetService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from fastclust.errors import InputError, UnsupportedError
from fastclust.v1 import dataset_pb2, dataset_pb2_grpc
from fastclust_server import calls, log, names
from fastclust_server.storage.catalog import encode_dataset, encode_upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grpc import aio

    from fastclust.v1 import job_pb2
    from fastclust_server.storage.catalog import Catalog
    from fastclust_server.storage.folder import DataFolder
    from fastclust_server.storage.uploads import Uploads
    from fastclust_server.threads import Threads

    Context = aio.ServicerContext[Any, Any]

__all__ = ["DatasetService"]


class DatasetService(dataset_pb2_grpc.DatasetServiceServicer):
    """Uploads and data sets."""

    def __init__(self, folder: DataFolder, catalog: Catalog, uploads: Uploads, threads: Threads) -> None:
        self._folder = folder
        self._catalog = catalog
        self._uploads = uploads
        self._threads = threads

    @override
    async def CreateUpload(
        self, request: dataset_pb2.CreateUploadRequest, context: Context
    ) -> dataset_pb2.UploadSession:
        """Reserve space for a payload."""
        call = calls.current()
        record = await self._threads.disk(self._uploads.create, call.owner, request)
        log.event("upload_created", request=call.request, upload=record.name, bytes=record.byte_count)
        return encode_upload(record)

    @override
    async def Upload(
        self, request_iterator: AsyncIterator[dataset_pb2.UploadRequest], context: Context
    ) -> dataset_pb2.UploadResponse:
        """Write chunks. However the stream ends, what came is synced and acknowledged."""
        owner, writer = calls.current().owner, None
        try:
            async for request in request_iterator:
                name = request.name
                if writer is None:
                    writer = await self._threads.disk(self._uploads.writer, owner, names.parse(name, "uploads"))
                elif name and name != writer.record.name:
                    raise InputError("name", repr(name[:100]), f"{writer.record.name} in all of the stream, or nothing")
                data = request.data  # each access copies
                await self._threads.disk(writer.add, request.offset, data, request.crc32c)
            if writer is None:
                raise InputError("name", "an empty stream", "at least one message")
        finally:
            if writer is not None:
                await self._threads.disk(self._uploads.done, writer)
        return dataset_pb2.UploadResponse(name=writer.record.name, persisted_bytes=writer.persisted)

    @override
    async def GetUpload(self, request: dataset_pb2.GetUploadRequest, context: Context) -> dataset_pb2.UploadSession:
        """Say how far an upload is."""
        upload = names.parse(request.name, "uploads")
        return encode_upload(await self._threads.store(self._catalog.get_upload, calls.current().owner, upload))

    @override
    async def FinishUpload(self, request: dataset_pb2.FinishUploadRequest, context: Context) -> dataset_pb2.Dataset:
        """Check the payload and make the data set."""
        call, upload = calls.current(), names.parse(request.name, "uploads")
        record = await self._threads.disk(self._uploads.finish, call.owner, upload, request.checksum)
        log.event("dataset_created", request=call.request, dataset=record.name, bytes=record.byte_count)
        return encode_dataset(record)

    @override
    async def DeleteUpload(
        self, request: dataset_pb2.DeleteUploadRequest, context: Context
    ) -> dataset_pb2.DeleteUploadResponse:
        """Forget an upload."""
        upload = names.parse(request.name, "uploads")
        await self._threads.disk(self._uploads.delete, calls.current().owner, upload)
        return dataset_pb2.DeleteUploadResponse()

    @override
    async def ImportDataset(self, request: dataset_pb2.ImportDatasetRequest, context: Context) -> job_pb2.Job:
        """Refuse: there are no allowed roots yet."""
        raise UnsupportedError("ImportDataset: this version of the server takes uploads only. Send the data instead.")

    @override
    async def GetDataset(self, request: dataset_pb2.GetDatasetRequest, context: Context) -> dataset_pb2.Dataset:
        """Describe one data set."""
        dataset = names.parse(request.name, "datasets")
        return encode_dataset(await self._threads.store(self._catalog.get_dataset, calls.current().owner, dataset))

    @override
    async def ListDatasets(
        self, request: dataset_pb2.ListDatasetsRequest, context: Context
    ) -> dataset_pb2.ListDatasetsResponse:
        """List data sets, newest first."""
        owner, kind, size = calls.current().owner, int(request.kind), names.page_size(request.page_size)
        before = names.read_token(request.page_token, "datasets", owner, kind)
        found = await self._threads.store(self._catalog.page_datasets, owner, kind, size, before)
        token = names.write_token(found[-1].number, "datasets", owner, kind) if len(found) == size else ""
        datasets = [encode_dataset(record) for record in found]
        return dataset_pb2.ListDatasetsResponse(datasets=datasets, next_page_token=token)

    @override
    async def DeleteDataset(
        self, request: dataset_pb2.DeleteDatasetRequest, context: Context
    ) -> dataset_pb2.DeleteDatasetResponse:
        """Remove a data set that no unfinished job reads."""
        call, dataset = calls.current(), names.parse(request.name, "datasets")
        record = await self._threads.store(self._catalog.get_dataset, call.owner, dataset)
        await self._threads.store(self._catalog.delete_dataset, call.owner, dataset)
        await self._threads.disk((self._folder.datasets / record.file).unlink, missing_ok=True)
        log.event("dataset_deleted", request=call.request, dataset=record.name)
        return dataset_pb2.DeleteDatasetResponse()
