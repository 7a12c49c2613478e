"""Uploads and downloads: chunks with checksums, on from where a broken connection left them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from fastclust import chunks, wire
from fastclust.checksums import Whole
from fastclust.errors import DataLossError, InternalError
from fastclust.v1 import artifact_pb2, common_pb2, dataset_pb2, dataset_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastclust.client.connection import Connection
    from fastclust.client.payloads import Payload

__all__ = ["Transfers"]


class Transfers:
    """Bytes over a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._datasets = dataset_pb2_grpc.DatasetServiceStub(connection.channel)
        # Bytes that are messages already, and parts of which the data is not copied.
        self._upload: Any = connection.channel.stream_unary(
            "/fastclust.v1.DatasetService/Upload", None, dataset_pb2.UploadResponse.FromString
        )
        self._read: Any = connection.channel.unary_stream(
            "/fastclust.v1.ArtifactService/ReadArtifact",
            artifact_pb2.ReadArtifactRequest.SerializeToString,
            chunks.decode_part,
        )

    def send(self, payload: Payload) -> dataset_pb2.Dataset:
        """Send a payload, from what the server has on disk whenever the connection broke; closes it."""
        try:
            request = payload.request
            request.request_id = uuid.uuid4().hex
            session = self._connection.call(self._datasets.CreateUpload, request)
            retry = self._connection.retry()
            persisted = session.persisted_bytes
            while persisted < payload.size:
                before = persisted
                try:
                    stream = _messages(session.name, payload, persisted)
                    persisted = self._upload(stream, metadata=self._connection.metadata).persisted_bytes
                except grpc.RpcError as error:
                    retry.wait(error)
                    name = dataset_pb2.GetUploadRequest(name=session.name)
                    persisted = self._connection.call(self._datasets.GetUpload, name).persisted_bytes
                if persisted > before:
                    retry = self._connection.worked()
            checksum = common_pb2.Checksum(crc32c=payload.crc32c())  # of what was sent, if it was sent in one go
            finish = dataset_pb2.FinishUploadRequest(name=session.name, checksum=checksum)
            dataset: dataset_pb2.Dataset = self._connection.call(self._datasets.FinishUpload, finish)
            return dataset
        finally:
            payload.close()

    def download(self, artifact: artifact_pb2.Artifact) -> Any:
        """Fetch a tensor as an array, a file as bytes; goes on from the first missing row after a break."""
        dtype = wire.dtype_of(artifact.tensor)
        shape = tuple(artifact.tensor.shape)
        out = np.empty(wire.nbytes(artifact.tensor), np.uint8)
        rows = shape[0] if shape else 1
        width = len(out) // rows if rows else 0
        retry = self._connection.retry()
        done, whole = 0, Whole()
        while done < rows:
            request = artifact_pb2.ReadArtifactRequest(name=artifact.name, row_offset=done)
            parts = self._read(request, metadata=self._connection.metadata)
            try:
                for part in parts:
                    if isinstance(part, chunks.Block):
                        done = _take(part, done, width, out, artifact.name)
                        whole.add(part.data, part.crc32c)
                        retry = self._connection.worked()
            except grpc.RpcError as error:
                retry.wait(error)
                continue
            finally:
                parts.cancel()
            if done < rows:
                raise DataLossError(f"{artifact.name}: the stream ended after {done} of {rows} rows.")
        if whole.value != artifact.crc32c:
            raise DataLossError(f"{artifact.name}: the whole does not match its checksum.")
        return out.tobytes() if artifact.is_file else out.view(dtype).reshape(shape)


def _messages(name: str, payload: Payload, start: int) -> Iterator[bytes]:
    for offset, data, crc in payload.chunks(start):
        yield chunks.encode_upload(name, offset, data, crc)


def _take(block: chunks.Block, done: int, width: int, out: NDArray[np.uint8], name: str) -> int:
    """Put one block into its place; returns the rows there now."""
    data = block.data
    if block.row_offset != done or (width and len(data) % width):
        raise InternalError(f"{name}: a block for row {block.row_offset} came when row {done} was due.")
    wire.verify(data, block.crc32c, f"{name}, row {done}", block.came)
    start = done * width
    out[start : start + len(data)] = np.frombuffer(data, np.uint8)
    return done + (len(data) // width if width else 0)
