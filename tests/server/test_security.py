"""Who may come in, and what a guest may make the server do."""

import contextlib
import json
import pathlib

import grpc
import psutil
import pytest

from fastclust import errors
from fastclust.client import Client
from fastclust.v1 import artifact_pb2, common_pb2, dataset_pb2, job_pb2
from fastclust_server.auth import Authenticator

CODE = grpc.StatusCode


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
    assert server.healthy()


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


def test_errors_carry_the_request_that_the_log_names(server, refused):
    with refused(CODE.NOT_FOUND) as told:
        server.get(job_pb2.Job(name="jobs/" + 32 * "0"))
    (event,) = [one for one in server.events("call_refused") if one["request"] == told["metadata"]["request"]]
    assert event["code"] == "NOT_FOUND"
    assert json.dumps(event)
