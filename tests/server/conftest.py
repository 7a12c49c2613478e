"""A real server in a process of its own, on a port that the system chose, and raw stubs to it."""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time

import grpc
import numpy as np
import psutil
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from fastclust import wire
from fastclust.v1 import (
    artifact_pb2,
    artifact_pb2_grpc,
    common_pb2,
    dataset_pb2,
    dataset_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    online_pb2_grpc,
    spec_pb2,
)

ENDED = {job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED}


class Server:
    """``python -m fastclust_server`` on one data folder; can be killed and started again."""

    def __init__(self, data, *arguments, listen="127.0.0.1:0", token=None, cold=True):
        self.data = data
        self.arguments = ("--cold", *arguments) if cold else arguments
        self.listen = listen
        self.token = token
        self.process = None
        self.channel = None
        #: Put before the command, and into its environment.
        self.prefix, self.environment = [], {}
        self.cold = cold

    def start(self):
        """Start and wait until it says that it serves."""
        self.log = (self.data.parent / f"{self.data.name}.log").open("ab")
        command = [sys.executable, "-m", "fastclust_server", "--listen", self.listen, "--data", str(self.data)]
        environment = os.environ | self.environment
        if not self.cold:
            environment.pop("FASTCLUST_COLD", None)
        self.process = subprocess.Popen(
            [*self.prefix, *command, "--grace", "3", *self.arguments],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
        )
        ready, _, _ = select.select([self.process.stdout], [], [], 60)
        line = self.process.stdout.readline().decode() if ready else ""
        assert line.startswith("fastclust server listening on "), (line, self.events()[-3:])
        self.address = line.split()[-1]
        self.connect()
        return self

    def connect(self):
        """Open a new channel."""
        if self.channel is not None:
            self.channel.close()
        self.channel = grpc.insecure_channel(self.address, options=[("grpc.max_receive_message_length", 2**24)])
        self.use(self.channel)

    def use(self, channel):
        """Make stubs for ``channel``."""
        self.datasets = dataset_pb2_grpc.DatasetServiceStub(channel)
        self.jobs = job_pb2_grpc.JobServiceStub(channel)
        self.artifacts = artifact_pb2_grpc.ArtifactServiceStub(channel)
        self.online = online_pb2_grpc.OnlineServiceStub(channel)

    def events(self, name=None):
        """What was logged, or the events of one name."""
        found = []
        for line in (self.data.parent / f"{self.data.name}.log").read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [event for event in found if name in {None, event["event"]}]

    def healthy(self):
        stub = health_pb2_grpc.HealthStub(self.channel)
        return stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status == health_pb2.HealthCheckResponse.SERVING

    def processes(self):
        """Everything that runs on this data folder."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = process.info["cmdline"] or []
            if str(self.data) in words and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def worker(self):
        """The worker process, once there is one."""
        for _ in range(400):
            for process in self.processes():
                if "fastclust_server.jobs.worker" in process.info["cmdline"]:
                    return process
            time.sleep(0.05)
        raise AssertionError("no worker")

    def kill(self):
        """Kill -9 of the server's process alone; what else runs must go by itself."""
        self.process.kill()
        self.process.wait()
        self.channel.close()
        self.process.stdout.close()
        self.log.close()

    def stop(self, number=signal.SIGTERM):
        """End the server as an operator does."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.channel.close()
        self.process.stdout.close()
        self.log.close()
        return code

    # Requests --------------------------------------------------------------------------------------------------------

    def create_upload(self, array, **others):
        """Declare an upload of ``array``."""
        return self.datasets.CreateUpload(
            dataset_pb2.CreateUploadRequest(
                kind=common_pb2.DATASET_KIND_TENSOR,
                tensor=wire.spec_of(array.dtype, array.shape),
                byte_count=others.pop("byte_count", array.nbytes),
                **others,
            )
        )

    def send(self, name, data, offset=0, chunk=2**20):
        """Stream ``data`` from ``offset`` on."""
        return self.datasets.Upload(chunks(name, data, offset, chunk))

    def finish(self, name, data):
        """Finish with the checksum of ``data``."""
        request = dataset_pb2.FinishUploadRequest(name=name, checksum=common_pb2.Checksum(crc32c=wire.crc32c(data)))
        return self.datasets.FinishUpload(request)

    def upload(self, array, **others):
        """All of it: the data set."""
        data = array.tobytes()
        session = self.create_upload(array, **others)
        self.send(session.name, data)
        return self.finish(session.name, data)

    def upload_bytes(self, kind, data, **content):
        """All of it, for a payload that is no tensor."""
        request = dataset_pb2.CreateUploadRequest(kind=kind, byte_count=len(data), **content)
        session = self.datasets.CreateUpload(request)
        self.send(session.name, data)
        return self.finish(session.name, data)

    def submit(self, request_id="", display_name="", **spec):
        """Create a job."""
        request = job_pb2.CreateJobRequest(
            spec=spec_pb2.JobSpec(**spec), request_id=request_id, display_name=display_name
        )
        return self.jobs.CreateJob(request)

    def get(self, job):
        """The job now."""
        return self.jobs.GetJob(job_pb2.GetJobRequest(name=job.name))

    def cancel(self, job):
        """Cancel it."""
        return self.jobs.CancelJob(job_pb2.CancelJobRequest(name=job.name))

    def watch(self, job, resume=0, timeout=120):
        """A stream of its states."""
        request = job_pb2.WatchJobRequest(name=job.name, resume_sequence=resume)
        return self.jobs.WatchJob(request, timeout=timeout)

    def wait(self, job, timeout=120):
        """The job when it has ended."""
        last = list(self.watch(job, timeout=timeout))[-1]
        assert last.state in ENDED
        return last

    def succeed(self, **spec):
        """Submit a job and return it when it has succeeded."""
        done = self.wait(self.submit(**spec))
        assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.error
        return done

    def wait_until(self, job, reached, timeout=120):
        """The job when ``reached(job)``."""
        stream = self.watch(job, timeout=timeout)
        for state in stream:
            if reached(state):
                stream.cancel()
                return state
            assert state.state not in ENDED, state
        raise AssertionError("the watch ended")

    def read(self, job, key, **where):
        """An artifact as an array, each block checked."""
        request = artifact_pb2.ReadArtifactRequest(name=f"{job.name}/artifacts/{key}", **where)
        header, data = None, b""
        for part in self.artifacts.ReadArtifact(request):
            if part.HasField("header"):
                header = part.header
            else:
                wire.verify(part.block.data, part.block.crc32c, key)
                data += part.block.data
        if not where:
            assert len(data) == header.byte_count
            assert wire.crc32c(data) == header.crc32c
        spec = header.tensor
        return np.frombuffer(data, wire.dtype_of(spec)).reshape((-1, *spec.shape[1:]))


def chunks(name, data, offset=0, chunk=2**20):
    for start in range(offset, len(data), chunk):
        part = data[start : start + chunk]
        yield dataset_pb2.UploadRequest(name=name, offset=start, data=part, crc32c=wire.crc32c(part))


@contextlib.contextmanager
def refusal(code):
    """Collects what a refused call said: ``told`` has code, reason, metadata, violations, retry."""
    told = {}
    with pytest.raises(grpc.RpcError) as caught:
        yield told
    told |= explain(caught.value)
    assert told["code"] is code, told


def explain(error):
    told = {"code": error.code(), "message": error.details(), "violations": [], "retry": None}
    status = rpc_status.from_call(error)
    assert status is not None, error
    for detail in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            if detail.Is(kind.DESCRIPTOR):
                unpacked = kind()
                detail.Unpack(unpacked)
                if kind is error_details_pb2.ErrorInfo:
                    assert unpacked.domain == "fastclust"
                    told |= {"reason": unpacked.reason, "metadata": dict(unpacked.metadata)}
                elif kind is error_details_pb2.BadRequest:
                    told["violations"] = [(item.field, item.description) for item in unpacked.field_violations]
                else:
                    told["retry"] = unpacked.retry_delay.ToMilliseconds() / 1000
    return told


@pytest.fixture(scope="session")
def server_class():
    return Server


@pytest.fixture(scope="session")
def refused():
    return refusal


@pytest.fixture(scope="session")
def chunked():
    return chunks


@pytest.fixture(scope="session")
def blobs():
    """float32 [n, d] around k centres."""

    def make(n=300, d=8, k=4, seed=0):
        random = np.random.default_rng(seed)
        centres = 10 * random.standard_normal((k, d))
        return (centres[np.arange(n) % k] + random.standard_normal((n, d))).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all tests that leave it running: starting one, and importing what its jobs need, takes seconds."""
    made = Server(tmp_path_factory.mktemp("server") / "data").start()
    yield made
    code = made.stop()
    assert code == 0
    assert_nothing_left(made)


@pytest.fixture
def new_server(tmp_path):
    """Makes servers that a test may kill."""
    made = []

    def make(*arguments, data=None, **others):
        server = Server(data or tmp_path / f"data{len(made)}", *arguments, **others)
        made.append(server)
        return server

    yield make
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.stop()
        assert_nothing_left(server)


def assert_nothing_left(server, seconds=5):
    """No process on the data folder within a few seconds; what is left is killed, so that it disturbs no other test."""
    end = time.monotonic() + seconds
    while (left := server.processes()) and time.monotonic() < end:
        time.sleep(0.05)
    left = server.processes()  # this process may have been stopped meanwhile
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            os.kill(process.pid, signal.SIGKILL)
    assert not left, [process.info["cmdline"] for process in left]


@pytest.fixture(scope="session")
def nothing_left():
    return assert_nothing_left


@pytest.fixture(scope="session")
def ids():
    """The random part of a name."""
    return lambda name: re.fullmatch(r"\w+/([0-9a-f]{32})", name)[1]
