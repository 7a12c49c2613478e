"""Bytes that somebody made up: each is refused with a status, the server lives on, and takes no memory for them.

A bounded number in CI, from the committed corpus and a seed. ``-m full`` runs the numbers of the design, but sends only
100,000 messages to a server: ``FUZZ_MESSAGES=1000000`` sends all, in half an hour.
"""

import collections
import concurrent.futures
import os
import pathlib
import random
import subprocess
import sys

import grpc
import psutil
import pytest
from google.protobuf.message import DecodeError

from fastclust import chunks
from fastclust.v1 import artifact_pb2, dataset_pb2, job_pb2, online_pb2

#: That send at once; each waits for its answer.
CLIENTS = 4
CORPUS = pathlib.Path(__file__).parent / "corpus"
REQUESTS = {
    "DatasetService/CreateUpload": dataset_pb2.CreateUploadRequest,
    "DatasetService/FinishUpload": dataset_pb2.FinishUploadRequest,
    "DatasetService/ImportDataset": dataset_pb2.ImportDatasetRequest,
    "DatasetService/ListDatasets": dataset_pb2.ListDatasetsRequest,
    "JobService/CreateJob": job_pb2.CreateJobRequest,
    "JobService/GetJob": job_pb2.GetJobRequest,
    "JobService/ListJobs": job_pb2.ListJobsRequest,
    "ArtifactService/ListArtifacts": artifact_pb2.ListArtifactsRequest,
    "OnlineService/Assign": online_pb2.AssignRequest,
    "OnlineService/Search": online_pb2.SearchRequest,
    "OnlineService/Mahalanobis": online_pb2.MahalanobisRequest,
}


def mutated(seed, data):
    """``data`` with bytes changed, left out, repeated or put in."""
    chosen, out = random.Random(seed), bytearray(data)
    for _ in range(chosen.randint(1, 8)):
        place = chosen.randrange(len(out) + 1)
        kind = chosen.randrange(5)
        if kind == 0 and place < len(out):
            out[place] = chosen.randrange(256)
        elif kind == 1:
            del out[place : place + chosen.randint(1, 8)]
        elif kind == 2:
            out[place:place] = out[place : place + chosen.randint(1, 64)]
        elif kind == 3:
            out[place:place] = chosen.randbytes(chosen.randint(1, 8))
        else:
            out[place : place + 8] = chosen.choice([b"\xff" * 8, b"\x00" * 8, b"\x7f" + b"\xff" * 7])
    return bytes(out)


def seeds(name):
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def send(server, count):
    """Messages near valid ones, to every method, from several clients at once; returns the codes that came."""
    messages, methods = seeds("messages"), list(REQUESTS)

    def share(client):
        codes = collections.Counter()
        with grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            calls = [channel.unary_unary(f"/fastclust.v1.{method}") for method in methods]
            for seed in range(client, count, CLIENTS):
                message = messages[seed // len(methods) % len(messages)]
                try:
                    calls[seed % len(methods)](mutated(seed, message), timeout=30)
                    codes[grpc.StatusCode.OK] += 1
                except grpc.RpcError as error:
                    codes[error.code()] += 1
                if seed % 50_000 == 0 and seed:
                    print(f"{seed} messages sent", flush=True)
        return codes

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        return sum(pool.map(share, range(CLIENTS)), collections.Counter())


def check_messages(server, count):
    process = psutil.Process(server.process.pid)
    send(server, 50)
    before = process.memory_info().rss
    codes = send(server, count)
    assert process.is_running()
    assert grpc.StatusCode.UNAVAILABLE not in codes
    grown = process.memory_info().rss - before
    print(count, "messages:", {code.name: number for code, number in codes.items()}, "grown by", grown)
    assert grown < 100 * 2**20
    faults = [event["error"] for event in server.events("call_failed") + server.events("online_failed")]
    assert not faults, faults[:3]
    return codes


def test_made_up_messages_are_refused_and_the_server_lives_on(new_server):
    codes = check_messages(new_server("--owner-bytes", "1000000").start(), 600)
    assert grpc.StatusCode.INVALID_ARGUMENT in codes
    # What grpcio's own parsing fails on it answers so, and keeps.
    assert grpc.StatusCode.INTERNAL not in codes


def test_messages_that_cannot_be_parsed_leave_nothing_behind(new_server):
    server = new_server().start()
    process, held = psutil.Process(server.process.pid), []
    call = server.channel.unary_unary("/fastclust.v1.JobService/GetJob")
    upload = server.channel.stream_unary("/fastclust.v1.DatasetService/Upload")
    for _ in range(3):
        for _ in range(500):
            for send, message in ((call, b"\xff" * 8), (upload, iter([b"\x0a\xff"]))):
                with pytest.raises(grpc.RpcError) as caught:
                    send(message, timeout=30)
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        held.append(process.memory_info().rss)
    assert held[2] - held[0] < 5 * 2**20


@pytest.mark.full
def test_a_great_many_made_up_messages_change_nothing(new_server):
    count = int(os.environ.get("FUZZ_MESSAGES", "100000"))
    check_messages(new_server("--owner-bytes", "1000000").start(), count)


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.full)])
def test_our_own_parser_takes_what_protobuf_takes_and_never_more(count):
    messages = seeds("messages")
    for seed in range(count):
        message = mutated(seed, messages[seed % len(messages)])
        for ours, theirs in (
            (chunks.decode_upload, dataset_pb2.UploadRequest.FromString),
            (chunks.decode_part, artifact_pb2.ReadArtifactResponse.FromString),
        ):
            try:
                ours(message)
            except (ValueError, DecodeError):
                # What we refuse, protobuf refuses too, but for groups, which no field of ours is.
                if any(byte & 7 in (3, 4) for byte in message):
                    continue
                with pytest.raises((DecodeError, UnicodeDecodeError)):
                    theirs(message)


FILES = """
import pathlib, random, resource, sys, warnings
warnings.simplefilter("ignore")
from tests.server.test_fuzz import mutated, seeds
from fastclust import errors
from fastclust.artifacts import load_model
from fastclust.data import open_images, open_rows
folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
readers = {
    "npy": lambda path: open_rows(path).read(),
    "parquet": lambda path: open_rows(path).read(),
    "safetensors": lambda path: load_model(path, "kmeans"),
    "tar": lambda path: [image for image in open_images(path).blocks(8)],
}
corpora = {kind: seeds(kind) for kind in readers}
for kind, read in readers.items():
    read_one = folder / f"x.{kind}"
    read_one.write_bytes(corpora[kind][0])
    read(read_one)  # what is not changed is read
status = pathlib.Path("/proc/self/status").read_text()
now = 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:"))
resource.setrlimit(resource.RLIMIT_DATA, (now + 2**29, now + 2**29))
refused = 0
# Those first that once ended the process, or in another kind of error: damaged statistics of a chunk, a version that is
# no number, a name that is not text.
for seed in (373, 1922, 1982, *range(count)):
    for kind, read in readers.items():
        path = folder / f"{seed}.{kind}"
        path.write_bytes(mutated(seed, corpora[kind][seed % len(corpora[kind])]))
        try:
            read(path)
        except errors.FastclustError:
            refused += 1
        path.unlink()
print(refused)
"""


@pytest.mark.parametrize("count", [60, pytest.param(10_000, marks=pytest.mark.full)])
def test_files_that_were_changed_are_read_or_refused_in_our_words(tmp_path, count):
    """In a process that may take 512 MiB more than it has; it neither dies nor raises an error of another kind."""
    done = subprocess.run(
        [sys.executable, "-c", FILES, str(tmp_path), str(count)],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 0
