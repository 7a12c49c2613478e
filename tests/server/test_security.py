"""Who may come in, and what a guest may make the server do."""

import contextlib
import json
import os
import pathlib
import socket
import struct
import time

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fastclust import errors
from fastclust.client import Client
from fastclust.v1 import artifact_pb2, common_pb2, dataset_pb2, job_pb2
from fastclust_server.auth import Authenticator
from fastclust_server.config import Settings, read_settings

CODE = grpc.StatusCode


def healthy(server):
    stub = health_pb2_grpc.HealthStub(server.channel)
    return stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status == health_pb2.HealthCheckResponse.SERVING


# TLS -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signed(authority):
    """An authority with certificates of a server, of two callers, of one whose time is over."""
    made = authority()
    return {
        "ca": made.path,
        "server": made.sign("localhost"),
        "ann": made.sign("ann"),
        "bob": made.sign("bob"),
        "late": made.sign("late", expired=True),
        "stranger": authority("another").sign("ann"),
    }


@pytest.fixture(scope="module")
def mutual(server_class, signed, tmp_path_factory):
    """A server that asks for certificates."""
    cert, key = signed["server"]
    flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--client-ca", str(signed["ca"]))
    made = server_class(tmp_path_factory.mktemp("mutual") / "data", *flags, listen="127.0.0.1:0").start()
    yield made
    assert made.stop() == 0


@contextlib.contextmanager
def connected(server, signed, name):
    """Stubs with the certificate of ``name``; None: with none."""
    pair = () if name is None else [path.read_bytes() for path in reversed(signed[name])]
    secrets = grpc.ssl_channel_credentials(signed["ca"].read_bytes(), *pair)
    with grpc.secure_channel(f"localhost:{server.address.rpartition(':')[2]}", secrets) as channel:
        server.use(channel)
        yield channel


def test_a_certificates_name_is_the_owner_and_neither_sees_the_others(mutual, signed, blobs, refused):
    with connected(mutual, signed, "ann"):
        data = mutual.upload(blobs(5, 2))
        assert data.owner == "ann"
    with connected(mutual, signed, "bob"):
        with refused(CODE.NOT_FOUND):
            mutual.datasets.GetDataset(dataset_pb2.GetDatasetRequest(name=data.name))
        assert mutual.upload(blobs(5, 2)).owner == "bob"


@pytest.mark.parametrize("name", [None, "late", "stranger"])
def test_no_certificate_an_expired_one_and_one_of_another_authority_are_refused(mutual, signed, blobs, name):
    before = sorted((mutual.data / "uploads").iterdir())
    with connected(mutual, signed, name):
        with pytest.raises(grpc.RpcError) as caught:
            mutual.create_upload(blobs(5, 2))
        assert caught.value.code() is CODE.UNAVAILABLE  # TLS ends before a call begins
    assert sorted((mutual.data / "uploads").iterdir()) == before
    with connected(mutual, signed, "ann"):
        assert mutual.upload(blobs(5, 2)).owner == "ann"


def test_an_expired_certificate_of_the_server_is_refused_by_the_client(new_server, signed, blobs):
    cert, key = signed["late"]
    server = new_server("--tls-cert", str(cert), "--tls-key", str(key)).start()
    port = server.address.rpartition(":")[2]
    with (
        Client(f"127.0.0.1:{port}", root_certificates=signed["ca"].read_bytes(), connect_timeout=0.5) as client,
        pytest.raises(errors.UnavailableError),
    ):
        client.upload(blobs(5, 2))


def test_the_client_speaks_tls_with_a_certificate_of_its_own(mutual, signed, blobs):
    cert, key = (path.read_bytes() for path in signed["ann"])
    with Client(
        f"localhost:{mutual.address.rpartition(':')[2]}",
        root_certificates=signed["ca"].read_bytes(),
        private_key=key,
        certificate_chain=cert,
    ) as client:
        assert client.upload(blobs(5, 2)).n_rows == 5


# Tokens --------------------------------------------------------------------------------------------------------------


def test_every_token_is_compared_whole(monkeypatch):
    """Comparing goes through hmac.compare_digest, over digests of one length, and does not stop at a match."""
    import hmac

    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or real(a, b))
    guard = Authenticator({"one": "ann", "two": "bob", "three": "cid"})
    assert guard.owner([("authorization", "Bearer one")]) == "ann"
    assert compared == [(32, 32)] * 3
    with pytest.raises(errors.UnauthenticatedError):
        guard.owner([("authorization", "Bearer on")])
    assert len(compared) == 6


@pytest.fixture(scope="module")
def guarded(server_class, tmp_path_factory):
    """A server that asks for tokens."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "tokens").write_text("secret:ann\n")
    made = server_class(folder / "data", "--tokens", str(folder / "tokens")).start()
    yield made
    assert made.stop() == 0


def test_an_unauthorised_upload_is_refused_before_its_body_is_read(guarded):
    """The sender is told while it still has nearly everything to send, and the server wrote no byte."""
    server = guarded
    sent = []

    def endless():
        data = bytes(2**20)
        for number in range(2000):
            sent.append(number)
            yield dataset_pb2.UploadRequest(name="uploads/" + 32 * "a", offset=number * 2**20, data=data)

    written = psutil.Process(server.process.pid).io_counters().write_chars
    with pytest.raises(grpc.RpcError) as caught:
        server.datasets.Upload(endless(), timeout=60)
    assert caught.value.code() is CODE.UNAUTHENTICATED
    assert len(sent) < 100
    assert psutil.Process(server.process.pid).io_counters().write_chars - written < 2**20
    assert not list((server.data / "uploads").iterdir())


def test_an_unauthorised_large_message_is_refused_before_it_is_read(guarded):
    server = guarded
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    call = server.channel.unary_unary("/fastclust.v1.OnlineService/Assign")
    for _ in range(5):
        with pytest.raises(grpc.RpcError) as caught:
            call(bytes(15 * 2**20), timeout=60)
        assert caught.value.code() is CODE.UNAUTHENTICATED
    assert process.memory_info().rss - before < 40 * 2**20


# Limits of what a guest may send -------------------------------------------------------------------------------------


def test_a_bomb_of_headers_is_refused(server):
    metadata = [(f"x-{number}", 1000 * "a") for number in range(200)]
    with pytest.raises(grpc.RpcError) as caught:
        server.jobs.ListJobs(job_pb2.ListJobsRequest(), metadata=metadata, timeout=20)
    assert caught.value.code() in {CODE.RESOURCE_EXHAUSTED, CODE.UNAVAILABLE}
    server.connect()
    assert healthy(server)


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


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "x/../../y", "labels\0", "..", "a" * 200])
def test_names_that_climb_out_of_the_folder_are_refused(server, blobs, refused, name):
    data = server.upload(blobs(20, 2))
    job = server.wait(server.submit(kmeans={"dataset": data.name, "clusters": {"fixed": 2}}))
    request = artifact_pb2.ReadArtifactRequest(name=f"{job.name}/artifacts/{name}")
    with refused(CODE.NOT_FOUND):
        list(server.artifacts.ReadArtifact(request))


def test_members_of_an_archive_that_climb_are_never_written(server):
    import io
    import tarfile

    from PIL import Image

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("../../climbed.png", "/climbed.png"):
            picture = io.BytesIO()
            Image.new("L", (8, 8)).save(picture, "PNG")
            member = tarfile.TarInfo(name)
            member.size = picture.tell()
            picture.seek(0)
            archive.addfile(member, picture)
    before = set(server.data.parent.rglob("*"))
    with contextlib.suppress(grpc.RpcError):
        server.upload_bytes(common_pb2.DATASET_KIND_IMAGES, out.getvalue(), images=dataset_pb2.ImagesSpec())
    assert not list(server.data.parent.rglob("climbed*"))
    assert not pathlib.Path("/climbed.png").exists()
    assert len(set(server.data.parent.rglob("*")) - before) <= 1  # the data set


# Peers that misbehave ------------------------------------------------------------------------------------------------


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
    assert healthy(server)
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
        assert healthy(server)
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
        assert healthy(server)
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


def test_flags_win_over_variables_over_the_file_over_defaults(tmp_path):
    (tmp_path / "c.toml").write_text(
        'listen = "127.0.0.1:1"\ngrace = 1.5\nmax-queued = 7\nimport_roots = ["/a", "/b"]\n'
    )
    environment = {"FASTCLUST_GRACE": "2.5", "FASTCLUST_MAX_QUEUED": "8", "FASTCLUST_DATA": str(tmp_path)}
    found = read_settings(["--config", str(tmp_path / "c.toml"), "--max-queued", "9"], environment)
    assert found == Settings(tmp_path, "127.0.0.1:1", grace=2.5, max_queued=9, import_roots=("/a", "/b"))
    environment["FASTCLUST_CONFIG"] = str(tmp_path / "c.toml")
    assert read_settings([], environment).max_queued == 8


@pytest.mark.parametrize("text", ["no toml", "unknown = 1", 'grace = "soon"', 'insecure-public = "perhaps"'])
def test_a_file_that_says_nonsense_is_refused(tmp_path, text):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(errors.FastclustError):
        read_settings(["--config", str(tmp_path / "c.toml"), "--data", str(tmp_path)], {})


def test_a_set_up_without_a_folder_is_refused():
    with pytest.raises(errors.InputError, match="--data"):
        read_settings([], {})


def test_errors_carry_the_request_that_the_log_names(server, refused):
    with refused(CODE.NOT_FOUND) as told:
        server.get(job_pb2.Job(name="jobs/" + 32 * "0"))
    (event,) = [one for one in server.events("call_refused") if one["request"] == told["metadata"]["request"]]
    assert event["code"] == "NOT_FOUND"
    assert json.dumps(event)
