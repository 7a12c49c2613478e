"""A server of our own making that breaks off: the client goes on from what was persisted."""

from __future__ import annotations

from concurrent import futures

import grpc
import numpy as np
import pytest

from fastclust import wire
from fastclust.client import Client, connection
from fastclust.client.payloads import CHUNK
from fastclust.errors import DataLossError, UnavailableError
from fastclust.v1 import (
    artifact_pb2,
    artifact_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
)


class Flaky(
    dataset_pb2_grpc.DatasetServiceServicer, job_pb2_grpc.JobServiceServicer, artifact_pb2_grpc.ArtifactServiceServicer
):
    """Keeps what it got, and breaks off after each ``patience`` messages while ``breaks`` are left."""

    def __init__(self):
        self.got = bytearray()
        self.persisted = 0
        self.breaks = 3
        self.patience = 2
        self.offsets = []
        self.array = np.arange(40_000, dtype="<f4").reshape(-1, 4)
        self.damage = False
        self.watched = []

    def _maybe_break(self, context, count):
        if self.breaks and count == self.patience:
            self.breaks -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken on purpose")

    def CreateUpload(self, request, context):  # noqa: N802 - gRPC's names
        return dataset_pb2.UploadSession(name="uploads/1", byte_count=request.byte_count)

    def GetUpload(self, request, context):  # noqa: N802
        return dataset_pb2.UploadSession(name="uploads/1", persisted_bytes=self.persisted)

    def Upload(self, stream, context):  # noqa: N802
        for count, message in enumerate(stream):
            if count == 0:
                self.offsets.append(message.offset)
            self._maybe_break(context, count)
            wire.verify(message.data, message.crc32c, "chunk")
            self.got[message.offset : message.offset + len(message.data)] = message.data
            self.persisted = message.offset + len(message.data)
        return dataset_pb2.UploadResponse(name="uploads/1", persisted_bytes=self.persisted)

    def FinishUpload(self, request, context):  # noqa: N802
        assert request.checksum.crc32c == wire.crc32c(bytes(self.got))
        return dataset_pb2.Dataset(name="datasets/1", byte_count=len(self.got))

    def GetJob(self, request, context):  # noqa: N802
        spec = wire.spec_of(self.array.dtype, self.array.shape)
        whole = self.array.tobytes()
        artifact = artifact_pb2.Artifact(
            name="jobs/1/artifacts/x", key="x", tensor=spec, byte_count=len(whole), crc32c=wire.crc32c(whole)
        )
        return job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_SUCCEEDED, artifacts=[artifact])

    def WatchJob(self, request, context):  # noqa: N802
        self.watched.append(request.resume_sequence)
        for count, sequence in enumerate(range(request.resume_sequence + 1, 9)):
            self._maybe_break(context, count)
            yield job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_RUNNING, sequence=sequence)
        yield job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_SUCCEEDED, sequence=9)

    def ReadArtifact(self, request, context):  # noqa: N802
        self.offsets.append(request.row_offset)
        yield artifact_pb2.ReadArtifactResponse(header=artifact_pb2.Artifact(name=request.name))
        for count, start in enumerate(range(request.row_offset, len(self.array), 1000)):
            self._maybe_break(context, count)
            data = self.array[start : start + 1000].tobytes()
            checksum = wire.crc32c(data) ^ self.damage
            block = artifact_pb2.ArtifactBlock(row_offset=start, data=data, crc32c=checksum)
            yield artifact_pb2.ReadArtifactResponse(block=block)


@pytest.fixture
def flaky():
    servicer = Flaky()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    dataset_pb2_grpc.add_DatasetServiceServicer_to_server(servicer, server)
    job_pb2_grpc.add_JobServiceServicer_to_server(servicer, server)
    artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(f"127.0.0.1:{port}", reconnect_timeout=20) as client:
        yield servicer, client
    server.stop(0)


def test_an_upload_goes_on_from_what_is_persisted(flaky):
    servicer, client = flaky
    array = np.random.default_rng(0).integers(0, 256, 9 * CHUNK + 17, dtype=np.uint8)
    data = client.upload(array)
    assert bytes(servicer.got) == array.tobytes()
    assert data.n_bytes == array.nbytes
    assert servicer.offsets == [0, 2 * CHUNK, 4 * CHUNK, 6 * CHUNK]


def test_a_download_goes_on_from_the_first_missing_row(flaky):
    servicer, client = flaky
    result = client.job("jobs/1").result()
    servicer.breaks = 3
    assert np.array_equal(result.x, servicer.array)
    assert servicer.offsets == [0, 2000, 4000, 6000]


def test_damage_on_the_way_is_an_error(flaky):
    servicer, client = flaky
    servicer.breaks, servicer.damage = 0, True
    with pytest.raises(DataLossError, match="row 0"):
        _ = client.job("jobs/1").result().x


def test_a_watch_goes_on_after_the_last_state_seen(flaky):
    servicer, client = flaky
    sequences = [state.sequence for state in client.job("jobs/1").watch()]
    assert sequences == list(range(1, 10))
    assert servicer.watched == [0, 2, 4, 6]


def test_a_server_that_is_away_for_long_is_told_of_once(monkeypatch):
    said = []
    monkeypatch.setattr(connection, "_QUIET_SECONDS", 0.1)
    with Client("127.0.0.1:1", connect_timeout=1.0, told=said.append) as client, pytest.raises(UnavailableError):
        client.jobs()
    assert said == ["127.0.0.1:1 does not answer; looked for 1 s more"]


def test_a_server_that_stays_away_ends_the_patience(flaky):
    servicer, client = flaky
    servicer.breaks, servicer.patience = 10**6, 0
    client.job("jobs/1")  # answers
    client._connection.patience_of[True] = 0.5
    with pytest.raises(UnavailableError):
        client.upload(np.zeros(10))
