"""kill -9 again and again while clients upload and submit: what was acknowledged is there afterwards, and once.

``python -m tests.crash --rounds 1000 --store sqlite`` (or ``make crash N=1000`` for both stores). Each round starts or
finds a server, keeps it busy, kills it or its worker at a moment that the seed chooses, and looks at what is left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter

import grpc
import numpy as np

from fastclust import wire
from fastclust.v1 import artifact_pb2, common_pb2, dataset_pb2, job_pb2, spec_pb2
from tests.server.conftest import Server, assert_nothing_left, chunks

#: What is killed, and when.
KINDS = ("server", "worker", "mid-upload", "mid-commit")
_OPTIONS = ("--owner-jobs", "1000000", "--max-queued", "1000000")
#: A server must answer again within this, at five times its target of 3 s.
_SERVING_SECONDS = 15.0


class Ledger:
    """What the server acknowledged."""

    def __init__(self):
        self.guard = threading.Lock()
        self.datasets = {}  # name -> CRC32C
        self.jobs = {}  # name -> (request id, rows)
        self.refusals = Counter()

    def counts(self):
        return {"uploads": len(self.datasets), "jobs": len(self.jobs)}


class Caller(threading.Thread):
    """Uploads and submits until told to stop; what breaks is tried again with the same request id."""

    def __init__(self, crash, seed):
        super().__init__(daemon=True)
        self.crash = crash
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.end = threading.Event()

    def run(self):
        while not self.end.is_set():
            rows = self.numpy.random((self.random.choice([50, 200, 5000]), 8), np.float32)
            key = uuid.uuid4().hex
            data = self.repeat(lambda rows=rows, key=key: self.upload(rows, key))
            if data is None:
                return
            with self.crash.ledger.guard:
                self.crash.ledger.datasets[data.name] = wire.crc32c(rows.tobytes())
            key = uuid.uuid4().hex
            job = self.repeat(lambda data=data, key=key: self.submit(data, key))
            if job is None:
                return
            with self.crash.ledger.guard:
                self.crash.ledger.jobs[job.name] = (key, rows)
            self.end.wait(self.random.uniform(0.0, 0.1))

    def repeat(self, act):
        """The answer, however many servers it takes; None when told to stop."""
        while not self.end.is_set():
            try:
                return act()
            except (grpc.RpcError, ValueError) as error:  # ValueError: the channel was closed under us
                code = error.code() if isinstance(error, grpc.RpcError) else grpc.StatusCode.UNAVAILABLE
                allowed = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}
                if code not in allowed:
                    self.crash.problems.append(f"{code}: {error}")
                    return None
                time.sleep(0.02)
        return None

    def upload(self, rows, key):
        server, payload = self.crash.server, rows.tobytes()
        session = server.create_upload(rows, request_id=key)
        self.crash.uploading.set()
        if session.persisted_bytes < len(payload):
            server.datasets.Upload(chunks(session.name, payload, session.persisted_bytes, 16_384), timeout=30)
        self.crash.committing.set()
        checksum = common_pb2.Checksum(crc32c=wire.crc32c(payload))
        request = dataset_pb2.FinishUploadRequest(name=session.name, checksum=checksum)
        return server.datasets.FinishUpload(request, timeout=30)

    def submit(self, data, key):
        clusters = spec_pb2.ClusterCount(fixed=3)
        kmeans = spec_pb2.KMeansSpec(dataset=data.name, clusters=clusters, random_state=0, max_iter=5)
        request = job_pb2.CreateJobRequest(spec=spec_pb2.JobSpec(kmeans=kmeans), request_id=key)
        self.crash.committing.set()
        return self.crash.server.jobs.CreateJob(request, timeout=30)


class Crash:
    """One run of many kills on one data folder."""

    def __init__(self, folder, seed, database=None, serving=_SERVING_SECONDS):
        self.random = random.Random(seed)
        options = _OPTIONS if database is None else (*_OPTIONS, "--database", database)
        self.serving = serving
        self.server = Server(pathlib.Path(folder) / "data", *options)
        self.ledger = Ledger()
        self.kills = Counter()
        self.problems = []
        self.starts = []
        self.uploading, self.committing = threading.Event(), threading.Event()
        self.seed = seed

    def start(self):
        begun = time.monotonic()
        self.server.start()
        self.starts.append(time.monotonic() - begun)

    def run(self, rounds, minutes=float("inf")):
        """Kill so many times, or for so long; return the summary."""
        until = time.monotonic() + 60 * minutes
        self.start()
        callers = [Caller(self, self.seed * 1000 + number) for number in range(2)]
        for caller in callers:
            caller.start()
        for number in range(rounds):
            self.kill(KINDS[number % len(KINDS)])
            if self.problems or time.monotonic() > until:
                break
        for caller in callers:
            caller.end.set()
        for caller in callers:
            caller.join(60)
        self.look_at_all()
        stopped = self.server.stop()
        assert_nothing_left(self.server)
        return {
            "rounds": sum(self.kills.values()),
            "kills": dict(self.kills),
            "seed": self.seed,
            "acknowledged": self.ledger.counts(),
            "seconds to serve, median and most": [round(float(np.median(self.starts)), 2), round(max(self.starts), 2)],
            "exit": stopped,
            "problems": self.problems,
        }

    def kill(self, kind):
        wait = self.random.uniform(0.05, 0.6)
        if kind == "worker":
            with contextlib.suppress(AssertionError, Exception):
                self.server.worker().kill()
                self.kills[kind] += 1
            time.sleep(wait)
            return
        moment = {"mid-upload": self.uploading, "mid-commit": self.committing}.get(kind)
        if moment is None:
            time.sleep(wait)
        else:
            moment.clear()
            moment.wait(10)
            time.sleep(self.random.uniform(0.0, 0.02))
        self.server.kill()
        self.kills[kind] += 1
        # As with starts: more time where this process, and so all that it started, may be stopped meanwhile.
        assert_nothing_left(self.server, max(5, self.serving / 10))
        self.start()
        if self.starts[-1] > self.serving:
            self.problems.append(f"served only after {self.starts[-1]:.1f} s")
        self.look_at_some()

    def look_at_some(self):
        with self.ledger.guard:
            names = self.random.sample(sorted(self.ledger.datasets), min(5, len(self.ledger.datasets)))
            jobs = self.random.sample(sorted(self.ledger.jobs), min(5, len(self.ledger.jobs)))
        for name in names:
            self.dataset(name)
        for name in jobs:
            self.job(name)

    def dataset(self, name):
        """It is there, and its file holds what was sent."""
        try:
            found = self.server.datasets.GetDataset(dataset_pb2.GetDatasetRequest(name=name), timeout=30)
        except grpc.RpcError as error:
            self.problems.append(f"{name} was acknowledged and is gone: {error.code()}")
            return
        stored = np.load(self.server.data / "datasets" / f"{name.split('/')[1]}.npy", allow_pickle=False)
        wanted = self.ledger.datasets[name]
        if found.crc32c != wanted or wire.crc32c(np.ascontiguousarray(stored).tobytes()) != wanted:
            self.problems.append(f"{name}: other bytes than were sent")

    def job(self, name):
        try:
            return self.server.jobs.GetJob(job_pb2.GetJobRequest(name=name), timeout=30)
        except grpc.RpcError as error:
            self.problems.append(f"{name} was acknowledged and is gone: {error.code()}")
            return None

    def look_at_all(self):
        """Every acknowledged upload and job; every job ends, with one result, which is right."""
        self.server.connect()
        for name in self.ledger.datasets:
            self.dataset(name)
        # Oldest first, as one owner's jobs are claimed: each waits for itself, and not for a queue before it.
        for name, (key, rows) in self.ledger.jobs.items():
            job = self.job(name)
            if job is None:
                continue
            if job.state not in (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED):
                job = self.ended(job)
                if job is None:
                    continue
            # A job that was at work in three kills is failed on purpose.
            if job.state == job_pb2.JOB_STATE_FAILED and job.error.reason == "WORKER_DIED":
                self.ledger.refusals["failed after three deaths of the worker"] += 1
                continue
            if job.state != job_pb2.JOB_STATE_SUCCEEDED:
                self.problems.append(f"{name}: {job_pb2.JobState.Name(job.state)} {job.error}")
                continue
            self.result(job, rows)
            again = self.server.jobs.CreateJob(job_pb2.CreateJobRequest(spec=job.spec, request_id=key), timeout=30)
            if again.name != name:
                self.problems.append(f"{name}: its request id made {again.name} too")

    def ended(self, job):
        """The job when it has ended; None, and a problem, where it has not although others go on or nothing does."""
        try:
            return self.server.wait(job, timeout=300)
        except (grpc.RpcError, AssertionError) as error:
            now = self.job(job.name)
            state = "gone" if now is None else job_pb2.JobState.Name(now.state)
            told = error.code() if isinstance(error, grpc.RpcError) else error
            self.problems.append(f"{job.name}: {state} after 300 s of waiting: {told}")
            return None

    def result(self, job, rows):
        try:
            centers = self.server.read(job, "cluster_centers").astype(float)
            labels = self.server.read(job, "labels")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self.problems.append(f"{job.name}: {error!r}")
            return
        far = np.linalg.norm(rows[:, None].astype(float) - centers[None], axis=2)
        if not np.allclose(np.take_along_axis(far, labels[:, None].astype(int), 1)[:, 0], far.min(axis=1), rtol=1e-4):
            self.problems.append(f"{job.name}: a result that is not right")
        folder = self.server.data / "artifacts" / job.name.split("/")[1]
        attempts = sorted(path.name for path in folder.iterdir())
        if attempts != [str(job.attempt)]:
            self.problems.append(f"{job.name}: attempts {attempts} on disk, {job.attempt} published")
        listed = self.server.artifacts.ListArtifacts(artifact_pb2.ListArtifactsRequest(parent=job.name)).artifacts
        if len({one.key for one in listed}) != len(listed):
            self.problems.append(f"{job.name}: a result twice")


def main():
    """Run, and print one JSON object a store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no more rounds after this")
    parser.add_argument("--seed", type=int, default=0)
    told = "a start that takes longer is a problem; more where this process may be stopped meanwhile"
    parser.add_argument("--serving", type=float, default=_SERVING_SECONDS, metavar="SECONDS", help=told)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], action="append")
    chosen = parser.parse_args()
    wrong = 0
    for store in chosen.store or ["sqlite", "postgresql"]:
        with contextlib.ExitStack() as stack:
            database = None
            if store == "postgresql":
                from tests.postgres import running

                database = stack.enter_context(running())()
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastclust-crash-"))
            begun = time.monotonic()
            found = Crash(folder, chosen.seed, database, chosen.serving).run(chosen.rounds, chosen.minutes)
        found = {"store": store, **found, "minutes": round((time.monotonic() - begun) / 60, 1)}
        print(json.dumps(found, indent=2), flush=True)
        wrong += len(found["problems"])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
