"""The server as a process: what it loads, where it listens, who may call, how many may watch."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fastclust.errors import InputError
from fastclust.v1 import dataset_pb2, job_pb2, spec_pb2
from fastclust_server.config import Settings

CODE = grpc.StatusCode
LIGHT = ("fastclust_kernels.errors", "fastclust_kernels.notices")
HEAVY = ("torch", "numba", "sklearn", "faiss", "scipy", "openTSNE", "pynndescent", "fastclust_kernels")


def healthy(server, service=""):
    stub = health_pb2_grpc.HealthStub(server.channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status


def start_refused(*arguments):
    command = [sys.executable, "-m", "fastclust_server", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    return done.stderr


def test_the_front_end_imports_nothing_heavy():
    code = (
        "import sys, fastclust_server.__main__, fastclust_server.app\n"
        "from fastclust_server.jobs import inputs, tasks, supervisor\n"
        f"print(*[n for n in {HEAVY[:-1]!r} if n in sys.modules])\n"
        f"print(*[n for n in sys.modules if n.startswith('fastclust_kernels.') and n not in {LIGHT!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_running_front_end_loads_nothing_heavy_even_after_uploads_and_jobs(server, blobs):
    data = server.upload(blobs(20, 3))
    for spec in (
        {"kmeans": {"clusters": {"fixed": 2}}},
        {"pipeline": {"n_neighbors": 3}},
        {"tsne": {"perplexity": [3]}},
    ):
        ((kind, values),) = spec.items()
        server.cancel(server.submit(**{kind: {"dataset": data.name, **values}}))
    mapped = " ".join(part.path for part in psutil.Process(server.process.pid).memory_maps())
    assert "grpc" in mapped
    for library in ("torch", "llvmlite", "sklearn", "scipy", "faiss"):
        assert f"site-packages/{library}" not in mapped


def test_a_second_server_on_the_folder_is_refused(server):
    told = start_refused("--data", server.data, "--listen", "127.0.0.1:0")
    assert "another fastclust server uses this data folder" in told
    assert str(server.process.pid) in told
    assert "Traceback" not in told


def test_a_port_that_is_taken_is_refused(server, tmp_path):
    told = start_refused("--data", tmp_path / "other", "--listen", server.address)
    assert "cannot listen there" in told
    assert "Traceback" not in told


def test_a_public_address_without_tls_and_tokens_is_refused(tmp_path):
    told = start_refused("--data", tmp_path / "data", "--listen", "0.0.0.0:0")
    assert "loopback" in told
    assert "--tls-cert" in told
    assert "--tokens" in told
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("listen", ["[::]:0", "192.0.2.1:50051", "some.host:1"])
def test_all_addresses_that_may_be_public_are_refused(tmp_path, listen):
    with pytest.raises(InputError, match="loopback"):
        Settings(tmp_path, listen).check()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:1", "[::1]:7", "127.9.9.9:1", "unix:/tmp/x"])
def test_loopback_addresses_are_allowed(tmp_path, listen):
    Settings(tmp_path, listen).check()


def test_public_addresses_are_allowed_with_all_that_is_asked_for(tmp_path):
    Settings(tmp_path, "0.0.0.0:1", insecure_public=True).check()
    Settings(tmp_path, "0.0.0.0:1", tokens=tmp_path, tls_cert=tmp_path, tls_key=tmp_path).check()
    with pytest.raises(InputError, match="--tokens"):
        Settings(tmp_path, "0.0.0.0:1", tls_cert=tmp_path, tls_key=tmp_path).check()


@pytest.mark.parametrize("listen", ["", "127.0.0.1", ":50051", "127.0.0.1:port", "127.0.0.1:70000"])
def test_addresses_that_are_none_are_refused(tmp_path, listen):
    with pytest.raises(InputError, match="HOST:PORT"):
        Settings(tmp_path, listen).check()


def test_the_data_folder_is_its_owners_alone(server):
    assert server.data.stat().st_mode & 0o777 == 0o700
    assert (server.data / "fastclust.db").stat().st_mode & 0o077 == 0


def test_the_ready_file_has_the_address_and_goes_with_the_server(new_server, tmp_path):
    ready = tmp_path / "ready"
    server = new_server("--ready-file", str(ready)).start()
    assert ready.read_text().strip() == server.address
    assert server.stop() == 0
    assert not ready.exists()


def test_a_signal_that_another_thread_was_given_ends_the_server(new_server):
    """As happens to a process that is traced: the handler runs in the main thread, which must wake for it."""
    server = new_server().start()
    others = [thread.id for thread in psutil.Process(server.process.pid).threads() if thread.id != server.process.pid]
    assert ctypes.CDLL(None).tgkill(server.process.pid, others[-1], signal.SIGTERM) == 0
    assert server.process.wait(30) == 0


def test_a_socket_file_is_served_too(new_server, tmp_path, blobs):
    server = new_server(listen=f"unix:{tmp_path / 's'}").start()
    assert server.address == f"unix:{tmp_path / 's'}"
    assert server.upload(blobs(5, 2)).row_count == 5


def test_health_and_reflection_answer(server):
    assert healthy(server) == health_pb2.HealthCheckResponse.SERVING
    assert healthy(server, "fastclust.v1.JobService") == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    answer = next(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])))
    named = {service.name for service in answer.list_services_response.service}
    assert {f"fastclust.v1.{name}Service" for name in ("Dataset", "Job", "Artifact", "Online")} <= named


def test_a_message_over_the_cap_is_refused_and_the_server_lives_on(server):
    with pytest.raises(grpc.RpcError) as caught:
        server.datasets.Upload(iter([dataset_pb2.UploadRequest(name="x", data=bytes(17 * 2**20))]))
    assert caught.value.code() is CODE.RESOURCE_EXHAUSTED
    assert healthy(server) == health_pb2.HealthCheckResponse.SERVING


def test_bytes_that_are_no_grpc_do_not_end_the_server(server):
    host, port = server.address.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)))
    assert healthy(server) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.alone
def test_a_thousand_open_watches_do_not_keep_a_health_check_waiting(new_server, blobs):
    """Each is a stream of its own; the target is 100 ms for a health check meanwhile."""
    server = new_server().start()
    data = server.upload(blobs(600, 8))
    spec = {"dataset": data.name, "max_iter": 10**6, "perplexity": [20.0]}
    running, queued = server.submit(tsne=spec), server.submit(tsne=spec)
    streams = [server.watch(queued) for _ in range(1000)]
    for stream in streams:
        assert next(stream).name == queued.name
    waits = []
    for _ in range(20):
        begun = time.perf_counter()
        assert healthy(server) == health_pb2.HealthCheckResponse.SERVING
        waits.append(time.perf_counter() - begun)
        assert server.get(queued).state == job_pb2.JOB_STATE_QUEUED
    print(f"health with 1,000 watches: median {1e3 * sorted(waits)[10]:.1f} ms, most {1e3 * max(waits):.1f} ms")
    assert sorted(waits)[10] < 0.5  # five times the target
    assert psutil.Process(server.process.pid).num_threads() < 350
    server.cancel(queued)
    for stream in streams:
        assert [job.state for job in stream] == [job_pb2.JOB_STATE_CANCELLED]
    server.cancel(running)
    server.wait(running)


@pytest.fixture(scope="module")
def guarded(server_class, tmp_path_factory):
    """A server that asks for tokens."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "tokens").write_text("# who is who\nann-secret:ann\nbob-secret:bob\n")
    made = server_class(folder / "data", "--tokens", str(folder / "tokens")).start()
    yield made
    assert made.stop() == 0


class Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamUnaryClientInterceptor):
    """Sends a token with each call."""

    def __init__(self, header):
        self.header = header

    def _go(self, go_on, details, request):
        details = details._replace(metadata=[*(details.metadata or ()), ("authorization", self.header)])
        return go_on(details, request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = _go


def as_caller(server, header):
    server.use(grpc.intercept_channel(server.channel, Bearer(header)))


def test_neither_owner_sees_what_is_the_others(guarded, blobs, refused):
    rows = blobs(30, 3)
    as_caller(guarded, "Bearer ann-secret")
    data = guarded.upload(rows)
    session = guarded.create_upload(rows)
    job = guarded.wait(guarded.submit(kmeans={"dataset": data.name, "clusters": {"fixed": 2}}))
    assert (data.owner, job.owner) == ("ann", "ann")
    as_caller(guarded, "bearer bob-secret")
    for call in (
        lambda: guarded.datasets.GetDataset(dataset_pb2.GetDatasetRequest(name=data.name)),
        lambda: guarded.datasets.DeleteDataset(dataset_pb2.DeleteDatasetRequest(name=data.name)),
        lambda: guarded.datasets.GetUpload(dataset_pb2.GetUploadRequest(name=session.name)),
        lambda: guarded.datasets.DeleteUpload(dataset_pb2.DeleteUploadRequest(name=session.name)),
        lambda: guarded.send(session.name, rows.tobytes()),
        lambda: guarded.finish(session.name, rows.tobytes()),
        lambda: guarded.get(job),
        lambda: guarded.cancel(job),
        lambda: guarded.jobs.DeleteJob(job_pb2.DeleteJobRequest(name=job.name)),
        lambda: list(guarded.watch(job)),
        lambda: guarded.read(job, "labels"),
        lambda: guarded.submit(kmeans=spec_pb2.KMeansSpec(dataset=data.name)),
        lambda: guarded.submit(tsne=spec_pb2.TsneSpec(graph=job.name)),
    ):
        with refused(CODE.NOT_FOUND):
            call()
    assert not guarded.jobs.ListJobs(job_pb2.ListJobsRequest()).jobs
    assert not guarded.datasets.ListDatasets(dataset_pb2.ListDatasetsRequest()).datasets
    as_caller(guarded, "Bearer ann-secret")
    assert guarded.get(job) == job
    assert guarded.read(job, "labels").shape == (30,)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "ann-secret", "Basic ann-secret"])
def test_strangers_are_turned_away_and_write_nothing(guarded, blobs, refused, header):
    if header is None:
        guarded.use(guarded.channel)
    else:
        as_caller(guarded, header)
    before = sorted((guarded.data / "uploads").iterdir())
    rows = blobs(30, 3)
    for call in (
        lambda: guarded.create_upload(rows),
        lambda: guarded.send("uploads/" + 32 * "a", rows.tobytes()),
        lambda: guarded.submit(kmeans=spec_pb2.KMeansSpec()),
        lambda: guarded.jobs.ListJobs(job_pb2.ListJobsRequest()),
    ):
        with refused(CODE.UNAUTHENTICATED) as told:
            call()
        assert told["metadata"]["error"] == "UnauthenticatedError"
    assert sorted((guarded.data / "uploads").iterdir()) == before
    assert healthy(guarded) == health_pb2.HealthCheckResponse.SERVING


def test_tls_is_served_with_a_certificate(new_server, tmp_path, blobs):
    """With tokens and TLS, a server on all addresses is allowed, and speaks nothing but TLS."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate can be made")
    cert, key, tokens = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "tokens"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    tokens.write_text("secret:ann\n")
    flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--tokens", str(tokens))
    server = new_server(*flags, listen="0.0.0.0:0").start()
    port = server.address.rpartition(":")[2]
    with grpc.insecure_channel(f"localhost:{port}") as plain:
        server.use(plain)
        with pytest.raises(grpc.RpcError) as caught:
            server.create_upload(blobs(5, 2))
        assert caught.value.code() is CODE.UNAVAILABLE
    trusted = grpc.ssl_channel_credentials(cert.read_bytes())
    who = grpc.access_token_call_credentials("secret")
    with grpc.secure_channel(f"localhost:{port}", grpc.composite_channel_credentials(trusted, who)) as safe:
        server.use(safe)
        assert server.upload(blobs(5, 2)).owner == "ann"


def test_a_child_goes_with_its_parent_even_while_it_imports(tmp_path):
    """The parent is killed when its child has only begun: what the child imports takes seconds on a busy machine."""
    (tmp_path / "slow.py").write_text("import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(60)\n")
    start = (
        "import subprocess, time\nfrom fastclust_server.child import command\n"
        "print(subprocess.Popen(command('slow', 'argument')).pid, flush=True)\ntime.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    parent = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, cwd=tmp_path, env=environment)
    child = psutil.Process(int(parent.stdout.readline()))
    until = time.monotonic() + 30
    while not (tmp_path / "begun").exists() and time.monotonic() < until:
        time.sleep(0.02)
    parent.kill()
    parent.communicate()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
