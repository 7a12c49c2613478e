"""ArtifactService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from fastclust.errors import NotFoundError, PreconditionError
from fastclust.v1 import artifact_pb2, artifact_pb2_grpc
from fastclust_server import calls, names
from fastclust_server.jobs.records import SUCCEEDED, encode_artifact
from fastclust_server.storage.artifacts import read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

    from fastclust_server.jobs.records import ArtifactRecord
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.stalls import Stalls
    from fastclust_server.storage.folder import DataFolder

__all__ = ["ArtifactService"]


class ArtifactService(artifact_pb2_grpc.ArtifactServiceServicer):
    """What finished jobs left."""

    def __init__(self, folder: DataFolder, store: JobStore, stalls: Stalls) -> None:
        self._folder = folder
        self._store = store
        self._stalls = stalls

    @override
    def ListArtifacts(
        self, request: artifact_pb2.ListArtifactsRequest, context: grpc.ServicerContext
    ) -> artifact_pb2.ListArtifactsResponse:
        """List the artifacts of a job that succeeded."""
        job, size = names.parse(request.parent, "jobs", "parent"), names.page_size(request.page_size)
        begin = names.read_token(request.page_token, "artifacts", job) or 0
        found = self._artifacts(calls.current().owner, job)
        page = [encode_artifact(job, record) for record in found[begin : begin + size]]
        token = names.write_token(begin + size, "artifacts", job) if begin + size < len(found) else ""
        return artifact_pb2.ListArtifactsResponse(artifacts=page, next_page_token=token)

    @override
    def ReadArtifact(  # type: ignore[override] # blocks are bytes already
        self, request: artifact_pb2.ReadArtifactRequest, context: grpc.ServicerContext
    ) -> Iterator[artifact_pb2.ReadArtifactResponse | bytes]:
        """Send a header, then blocks of whole rows, as the bytes that such a message is."""
        job, key = names.parse_artifact(request.name)
        found = self._artifacts(calls.current().owner, job)
        record = next((record for record in found if record.key == key), None)
        if record is None:
            raise NotFoundError(f"{request.name}: no such artifact; there are {', '.join(r.key for r in found)}.")
        blocks = read_blocks(self._folder.artifacts, record, request.row_offset, request.row_limit)
        with self._stalls.watching(context):
            yield artifact_pb2.ReadArtifactResponse(header=encode_artifact(job, record))
            for message in blocks:
                self._stalls.moved(context)
                yield message

    def _artifacts(self, owner: str, job: str) -> list[ArtifactRecord]:
        record = self._store.get(owner, job)
        if record.state != SUCCEEDED:
            raise PreconditionError(f"{record.name} has no artifacts: it has not succeeded.")
        return self._store.artifacts(job)
