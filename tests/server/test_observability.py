import contextlib
import json
import re
import time
import urllib.request

import grpc
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from fastclust.v1 import job_pb2
from fastclust_server.gpus import GpuCollector, gpus
from fastclust_server.telemetry import Telemetry

CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def measured(server_class, tmp_path_factory):
    made = server_class(tmp_path_factory.mktemp("measured") / "data", "--metrics", "127.0.0.1:0").start()
    yield made
    assert made.stop() == 0


def scraped(server):
    (event,) = server.events("metrics")
    return urllib.request.urlopen(f"http://{event['address']}/metrics", timeout=10).read().decode()


def value(text, name, **labels):
    for line in text.splitlines():
        if line.startswith(name) and all(f'{key}="{label}"' in line for key, label in labels.items()):
            return float(line.split()[-1])
    return None


def test_prometheus_is_told_of_calls_by_the_names_of_grfc_a66_and_of_jobs(measured, blobs, refused):
    rows = blobs(100, 4)
    data = measured.upload(rows)
    done = measured.wait(measured.submit(kmeans={"dataset": data.name, "clusters": {"fixed": 2}}))
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED
    with refused(CODE.NOT_FOUND):
        measured.get(job_pb2.Job(name="jobs/" + 32 * "0"))
    until = time.monotonic() + 10
    while value(text := scraped(measured), "fastclust_job_seconds_count", kind="kmeans") is None:
        assert time.monotonic() < until
        time.sleep(0.1)
    create = "fastclust.v1.JobService/CreateJob"
    assert value(text, "grpc_server_call_started_total", grpc_method=create) == 1
    assert value(text, "grpc_server_call_duration_seconds_count", grpc_method=create, grpc_status="OK") == 1
    get = "fastclust.v1.JobService/GetJob"
    assert value(text, "grpc_server_call_duration_seconds_count", grpc_method=get, grpc_status="NOT_FOUND") == 1
    assert value(text, "fastclust_upload_bytes_total") == rows.nbytes
    assert value(text, "fastclust_job_seconds_count", kind="kmeans", state="succeeded") == 1
    assert value(text, "fastclust_job_queue_seconds_count", kind="kmeans") == 1
    assert value(text, "fastclust_jobs_queued") == 0


class Library:
    """What NVIDIA's library says of two GPUs; ``broken`` names a function that fails."""

    def __init__(self, broken=""):
        self.broken, self.open = broken, 0

    def status(self, name):
        return 999 if name == self.broken else 0

    def nvmlInit_v2(self):  # noqa: N802 - the name in the library
        self.open += self.status("init") == 0
        return self.status("init")

    def nvmlShutdown(self):  # noqa: N802 - the name in the library
        self.open -= 1

    def nvmlDeviceGetCount_v2(self, count):  # noqa: N802 - the name in the library
        count._obj.value = 2
        return self.status("count")

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):  # noqa: N802 - the name in the library
        handle._obj.value = 100 + index.value
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle, memory):  # noqa: N802 - the name in the library
        memory._obj.used, memory._obj.total = handle.value * 2**20, 80 * 2**30
        return self.status("memory")


def test_memory_of_gpus_is_told_by_gpu():
    library = Library()
    registry = CollectorRegistry()
    registry.register(GpuCollector(lambda: gpus(lambda _name: library)))
    text = generate_latest(registry).decode()
    assert value(text, "fastclust_gpus") == 2
    assert value(text, "fastclust_gpu_memory_used_bytes", gpu="1") == 101 * 2**20
    assert value(text, "fastclust_gpu_memory_total_bytes", gpu="0") == 80 * 2**30
    assert library.open == 0


@pytest.mark.parametrize("broken", ["init", "count", "memory"])
def test_a_library_that_does_not_answer_is_as_no_gpu(broken):
    library = Library(broken)
    assert gpus(lambda _name: library) == []
    assert library.open == 0


def test_without_a_gpu_the_metrics_say_so(measured):
    if gpus():
        pytest.skip("this machine has a GPU")
    text = scraped(measured)
    assert value(text, "fastclust_gpus") == 0
    assert value(text, "fastclust_gpu_memory_used_bytes") is None


def test_the_log_is_a_json_object_a_line_with_job_request_and_attempt(measured):
    lines = (measured.data.parent / "data.log").read_text().splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    created = next(event for event in events if event["event"] == "job_created")
    assert re.fullmatch(r"jobs/[0-9a-f]{32}", created["job"])
    assert re.fullmatch(r"[0-9a-f]{16}", created["request"])
    done = next(event for event in events if event["event"] == "job_succeeded")
    assert (done["job"], done["attempt"]) == (created["job"], 1)
    assert all(event["time"] > 1e9 and event["pid"] > 0 for event in events)


def test_a_span_surrounds_a_call_within_the_callers():
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    telemetry = Telemetry(wanted=True, provider=provider)
    caller = f"00-{'a' * 32}-{'b' * 16}-01"
    with telemetry.call("/fastclust.v1.JobService/GetJob", [("traceparent", caller), ("x-bin", b"1")]):
        pass
    with pytest.raises(ValueError, match="no"), telemetry.call("/fastclust.v1.JobService/GetJob", []):
        raise ValueError("no")
    first, second = kept.get_finished_spans()
    assert (first.name, first.attributes["rpc.method"]) == ("fastclust.v1.JobService/GetJob", "GetJob")
    assert format(first.context.trace_id, "032x") == "a" * 32
    assert not second.status.is_ok
    telemetry.close()


def test_without_telemetry_a_call_is_surrounded_by_nothing():
    telemetry = Telemetry(wanted=False)
    around = telemetry.call("/x/y", [])
    assert isinstance(around, contextlib.nullcontext)
    with around:
        pass
    telemetry.close()


def test_channelz_names_the_server(server):
    from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc

    stub = channelz_pb2_grpc.ChannelzStub(server.channel)
    assert len(stub.GetServers(channelz_pb2.GetServersRequest(), timeout=10).server) == 1
