"""Fifty clients at once for five minutes: nothing but RESOURCE_EXHAUSTED with a time to come back, and all jobs end.

Leaves ``bench/results/service-soak.png``: how many jobs waited and how long calls took.
"""

import os
import pathlib
import random
import threading
import time

import grpc
import numpy as np
import psutil
import pytest

from fastclust.v1 import job_pb2, spec_pb2
from tests.server.conftest import ENDED, explain

RESULTS = pathlib.Path(__file__).parents[2] / "bench" / "results"
CLIENTS, JOBS = 50, 20
#: A shorter one tries the test itself.
MINUTES = float(os.environ.get("SOAK_MINUTES", "5"))


def spec_of(kind, data):
    if kind == "kmeans":
        clusters = spec_pb2.ClusterCount(fixed=5)
        return spec_pb2.JobSpec(kmeans=spec_pb2.KMeansSpec(dataset=data, clusters=clusters, random_state=0))
    if kind == "neighbors":
        return spec_pb2.JobSpec(neighbors=spec_pb2.NeighborsSpec(dataset=data, n_neighbors=10))
    if kind == "mahalanobis":
        return spec_pb2.JobSpec(mahalanobis=spec_pb2.MahalanobisSpec(dataset=data))
    return spec_pb2.JobSpec(tsne=spec_pb2.TsneSpec(dataset=data, max_iter=50, perplexity=[10.0], random_state=0))


class Guest(threading.Thread):
    """One client with a channel of its own."""

    def __init__(self, server_class, address, seed, until):
        super().__init__(daemon=True)
        self.stubs = server_class(pathlib.Path("/nowhere"))
        self.stubs.address = address
        self.stubs.connect()
        self.random, self.until = random.Random(seed), until
        self.made, self.ended, self.problems, self.refused, self.latencies = [], 0, [], 0, []

    def run(self):
        rows = np.random.default_rng(self.random.randrange(10**6)).random((300, 8), np.float32)
        data = self.ask(lambda: self.stubs.upload(rows))
        for _ in range(JOBS):
            kind = self.random.choice(["kmeans", "neighbors", "mahalanobis", "tsne"])
            request = job_pb2.CreateJobRequest(spec=spec_of(kind, data.name), request_id=f"{self.random.random()}")
            job = self.ask(lambda request=request: self.stubs.jobs.CreateJob(request, timeout=60))
            if job is None:
                break
            self.made.append(job)
            time.sleep(self.random.uniform(0, 2 * 60 * MINUTES / JOBS))  # all of them together last MINUTES, about
        for job in self.made:
            last = self.stubs.wait(job, timeout=900)
            self.ended += last.state in ENDED
            if last.state != job_pb2.JOB_STATE_SUCCEEDED:
                self.problems.append(f"{last.name}: {last.error.message}")

    def ask(self, call):
        while True:
            begun = time.perf_counter()
            try:
                answer = call()
            except grpc.RpcError as error:
                full = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                told = explain(error) if full else {"retry": None, "error": error}
                if not told["retry"]:
                    self.problems.append(str(told))
                    return None
                self.refused += 1
                time.sleep(told["retry"])
            else:
                self.latencies.append((time.monotonic(), time.perf_counter() - begun))
                return answer


@pytest.mark.full
@pytest.mark.timeout(3000)
def test_fifty_clients_with_mixed_jobs_for_five_minutes(new_server, server_class):
    server = new_server("--max-queued", "300", "--metrics", "127.0.0.1:0").start()
    process = psutil.Process(server.process.pid)
    rows = np.random.default_rng(0).random((300, 8), np.float32)
    for kind in ("kmeans", "neighbors", "mahalanobis", "tsne"):  # imported and warm
        server.wait(server.jobs.CreateJob(job_pb2.CreateJobRequest(spec=spec_of(kind, server.upload(rows).name))))
    base, worker = process.memory_info().rss, server.worker().memory_info().rss
    begun = time.monotonic()
    guests = [Guest(server_class, server.address, seed, begun + 60 * MINUTES) for seed in range(CLIENTS)]
    for guest in guests:
        guest.start()
    depths = []
    while any(guest.is_alive() for guest in guests):
        listed = server.jobs.ListJobs(job_pb2.ListJobsRequest(states=[job_pb2.JOB_STATE_QUEUED], page_size=1000))
        depths.append((time.monotonic() - begun, len(listed.jobs)))
        time.sleep(1.0)
    problems = [problem for guest in guests for problem in guest.problems]
    assert not problems, problems[:5]
    made = sum(len(guest.made) for guest in guests)
    assert made == CLIENTS * JOBS
    assert sum(guest.ended for guest in guests) == made
    until = time.monotonic() + 30
    while process.memory_info().rss > base + 64 * 2**20 and time.monotonic() < until:
        time.sleep(1.0)
    grown = (process.memory_info().rss - base) / 2**20, (server.worker().memory_info().rss - worker) / 2**20
    refused = sum(guest.refused for guest in guests)
    print(f"{made} jobs, {refused} refusals, server grew by {grown[0]:.0f} MiB, worker by {grown[1]:.0f} MiB")
    plot(depths, sorted(one for guest in guests for one in guest.latencies), begun)
    assert grown[0] < 64
    assert grown[1] < 300


def plot(depths, latencies, begun):
    """Queue and latency over time, by Pillow: no package more for one picture."""
    from PIL import Image, ImageDraw

    width, height, left = 1000, 300, 60
    picture = Image.new("RGB", (width, 2 * height), "white")
    draw = ImageDraw.Draw(picture)
    longest = max(when for when, _ in depths)
    series = (
        ("jobs that wait", [(when, depth) for when, depth in depths], ""),
        ("milliseconds a call", [(when - begun, 1e3 * seconds) for when, seconds in latencies], "."),
    )
    for place, (title, points, dots) in enumerate(series):
        top, most = place * height, max(value for _, value in points) or 1
        xy = [
            (left + (width - left - 20) * when / longest, top + height - 40 - (height - 80) * value / most)
            for when, value in points
        ]
        if dots:
            for x, y in xy:
                draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill="#1f77b4")
        else:
            draw.line(xy, fill="#1f77b4", width=2)
        draw.text((left, top + 8), f"{title}, up to {most:.0f}; {longest:.0f} s", fill="black")
        draw.line((left, top + height - 40, width - 20, top + height - 40), fill="black")
    picture.save(RESULTS / "service-soak.png")
