"""What a caller may take: bytes, rows, jobs, pixels, threads and the disk, each with the status of too much."""

import contextlib
import os
import socket
import struct
import time

import grpc
import numpy as np
import psutil
import pytest

from fastclust.v1 import artifact_pb2, common_pb2, dataset_pb2

CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def strict(server_class, tmp_path_factory):
    """A server that allows little, and does not wait long."""
    flags = ["--owner-bytes", "60000000", "--dataset-rows", "1100000", "--owner-jobs", "2", "--image-pixels", "100000"]
    made = server_class(tmp_path_factory.mktemp("strict") / "data", *flags, "--stall", "1.5").start()
    yield made
    assert made.stop() == 0


def test_an_upload_of_more_than_an_owner_may_keep_is_refused(strict, refused):
    sessions = [strict.create_upload(np.zeros((1_000_000, 2), np.float32)) for _ in range(2)]
    with refused(CODE.RESOURCE_EXHAUSTED) as told:
        strict.create_upload(np.zeros((1_000_000, 15), np.float32))
    assert told["retry"] is None
    assert "16000000 of the 60000000" in told["message"]
    for session in sessions:
        strict.datasets.DeleteUpload(dataset_pb2.DeleteUploadRequest(name=session.name))


def test_more_rows_than_a_data_set_may_have_are_refused(strict, refused):
    with refused(CODE.INVALID_ARGUMENT) as told:
        strict.create_upload(np.zeros((1_100_001, 2), np.float32))
    assert told["metadata"]["field"] == "array"


def test_more_jobs_than_an_owner_may_have_are_refused_with_a_time_to_come_back(strict, blobs, refused):
    server = strict
    data = server.upload(blobs(600, 8))
    spec = {"dataset": data.name, "max_iter": 10**6, "perplexity": [20.0]}
    made = [server.submit(tsne=spec) for _ in range(2)]
    with refused(CODE.RESOURCE_EXHAUSTED) as told:
        server.submit(tsne=spec)
    assert told["retry"] > 0
    for job in made[::-1]:
        server.cancel(job)
        server.wait(job)


def test_images_that_would_be_too_large_when_decoded_are_refused(strict, refused):
    import io
    import tarfile

    from PIL import Image

    server = strict
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(3):
            picture = io.BytesIO()
            Image.new("L", (200, 200)).save(picture, "PNG")
            member = tarfile.TarInfo(f"{number}.png")
            member.size = picture.tell()
            picture.seek(0)
            archive.addfile(member, picture)
    with refused(CODE.INVALID_ARGUMENT) as told:
        server.upload_bytes(common_pb2.DATASET_KIND_IMAGES, out.getvalue(), images=dataset_pb2.ImagesSpec())
    assert told["metadata"]["field"] == "images"


@pytest.mark.alone
def test_a_reader_that_does_not_read_holds_little_and_keeps_nobody_waiting(strict):
    """Its stream is ended after --stall; until then others are served."""
    server = strict
    data = server.upload(np.random.default_rng(0).random((2**18, 16), np.float32))
    spec = {"dataset": data.name, "output": 5}  # the rows, mapped: 16 MB of result
    done = server.wait(server.submit(mahalanobis=spec))
    before = psutil.Process(server.process.pid).memory_info().rss
    request = artifact_pb2.ReadArtifactRequest(name=f"{done.name}/artifacts/transformed")
    streams = [server.artifacts.ReadArtifact(request) for _ in range(10)]
    for stream in streams:
        next(stream)
    assert server.healthy()
    assert server.read(done, "transformed").shape == (2**18, 16)
    # A few blocks of 1 MiB a reader, and what the one that read needed.
    assert psutil.Process(server.process.pid).memory_info().rss - before < 96 * 2**20
    until = time.monotonic() + 15
    while len(server.events("stream_stalled")) < 10 and time.monotonic() < until:
        time.sleep(0.1)
    assert len(server.events("stream_stalled")) == 10
    with pytest.raises(grpc.RpcError) as caught:
        list(streams[0])
    assert caught.value.code() is CODE.CANCELLED


def test_a_sender_that_stands_still_is_ended_and_its_bytes_are_kept(strict, blobs, chunked):
    server = strict
    rows = blobs(1000, 8)
    session = server.create_upload(rows)
    import threading

    hold = threading.Event()

    def stops():
        yield from chunked(session.name, rows.tobytes()[:4096])
        hold.wait(30)

    with pytest.raises(grpc.RpcError) as caught:
        server.datasets.Upload(stops(), timeout=30)
    hold.set()
    assert caught.value.code() is CODE.CANCELLED
    until = time.monotonic() + 10
    request = dataset_pb2.GetUploadRequest(name=session.name)
    while server.datasets.GetUpload(request).persisted_bytes != 4096 and time.monotonic() < until:
        time.sleep(0.05)
    assert server.send(session.name, rows.tobytes(), 4096).persisted_bytes == rows.nbytes


@pytest.mark.alone
def test_half_open_peers_keep_nobody_waiting(server):
    """Connections that say nothing, or stop in the middle of HTTP/2's first words."""
    host, port = server.address.rsplit(":", 1)
    with contextlib.ExitStack() as stack:
        for number in range(50):
            peer = stack.enter_context(socket.create_connection((host, int(port))))
            if number % 2:
                peer.sendall(
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">I", 4)[1:] + b"\x04\x00\x00\x00\x00\x00"
                )
        begun = time.monotonic()
        assert server.healthy()
        assert time.monotonic() - begun < 0.5  # five times the target


def test_a_full_disk_is_told_and_the_server_lives_on(new_server, tmp_path, blobs, refused):
    """The data folder is a small file system: what does not fit is refused, what fits is stored."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=96m tmpfs {folder}") != 0:
        pytest.skip("no right to mount a small file system")
    try:
        server = new_server(data=folder / "data").start()
        with refused(CODE.RESOURCE_EXHAUSTED) as told:
            server.create_upload(np.zeros((2**20, 25), np.float32))
        assert told["reason"] == "STORAGE_FULL"
        rows = np.random.default_rng(0).random((2**18, 16), np.float32)  # 16 MB: promised
        session = server.create_upload(rows)
        with (folder / "filler").open("wb") as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(2**18))
                filler.flush()
        with refused(CODE.RESOURCE_EXHAUSTED) as told:
            server.send(session.name, rows.tobytes())
        assert told["reason"] == "STORAGE_FULL"
        assert server.healthy()
        (folder / "filler").unlink()
        request = dataset_pb2.GetUploadRequest(name=session.name)
        server.send(session.name, rows.tobytes(), server.datasets.GetUpload(request).persisted_bytes)
        assert server.finish(session.name, rows.tobytes()).row_count == len(rows)
        server.stop()
    finally:
        os.system(f"umount -l {folder}")


def test_a_truncated_file_is_told_as_damage(server, blobs, ids, refused):
    data = server.upload(blobs(50, 3))
    done = server.wait(server.submit(kmeans={"dataset": data.name, "clusters": {"fixed": 2}}))
    (path,) = (server.data / "artifacts" / ids(done.name)).rglob("labels.npy")
    os.truncate(path, path.stat().st_size - 10)
    with refused(CODE.DATA_LOSS) as told:
        server.read(done, "labels")
    assert told["reason"] == "CHECKSUM_MISMATCH"


# Set-up --------------------------------------------------------------------------------------------------------------
