"""Jobs of a server while they are on a real cluster: cancelled, and their worker killed. No process is left behind."""

import contextlib
import os
import re
import signal
import time

import numpy as np
import pytest

from bench.local_cluster import own_workers
from fastclust.cluster.checkpoint import reached
from fastclust.v1 import job_pb2

pytestmark = pytest.mark.full

K = 20
#: Seconds in which a cancel must be seen, and in which the cluster must be free again.
SEEN, FREE = 2.0, 10.0


def until(found, seconds=120):
    """What ``found`` returns once that is true."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return value


def gone(*names):
    """Wait until no worker of these classes is there; return how many seconds that took."""
    began = time.monotonic()
    until(lambda: not [one for name in names for one in own_workers(name)], FREE)
    return time.monotonic() - began


def send(number, processes):
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


@contextlib.contextmanager
def busy(name):
    """Have the workers of a class be at a call that does not end."""
    found = own_workers(name)
    assert found, name
    send(signal.SIGSTOP, found)
    try:
        yield
    finally:
        send(signal.SIGCONT, found)


@pytest.fixture(scope="module")
def spec(ray_server, rows):
    data = ray_server.upload(rows)
    many = {"clusters": {"fixed": K}, "max_iter": 300, "n_init": 1, "tol": 0.0, "random_state": 0}
    return {"dataset": data.name, "init_method": "random", **many}


@pytest.fixture(scope="module")
def training(ray_server, digits):
    data = ray_server.upload(digits.astype(np.float32))
    return {
        "dataset": data.name, "embedding_dim": 8, "batch_size": 20, "encoder": "linear", "epochs": 200,
        "random_state": 0,
    }  # fmt: skip


def iteration(server, job):
    return (reached(server.data / "work" / job.name.rpartition("/")[2] / "kmeans") or (0, 0))[1]


def epoch(state):
    found = re.search(r"epoch (\d+)", state.progress.message)
    return int(found[1]) if found else 0


def cancelled(server, job):
    """Cancel a job; return after how many seconds it had ended."""
    began = time.monotonic()
    server.cancel(job)
    assert server.wait(job).state == job_pb2.JOB_STATE_CANCELLED
    return time.monotonic() - began


def test_a_cancel_of_a_job_whose_workers_are_at_a_long_call_is_seen_at_once(ray_server, spec):
    worker = ray_server.worker().pid
    job = ray_server.submit(kmeans=spec)
    until(lambda: iteration(ray_server, job) >= 3)
    with busy("Shard"):
        took = cancelled(ray_server, job)
    print(f"cancelled after {took:.2f} s; free {gone('Shard'):.2f} s later")
    assert took < SEEN
    # It stopped by itself: nobody had to kill the server's worker.
    assert ray_server.worker().pid == worker


def test_a_killed_worker_leaves_nothing_on_the_cluster_and_its_job_goes_on_to_the_same_bits(ray_server, spec):
    whole = ray_server.succeed(kmeans=spec)
    job = ray_server.submit(kmeans=spec)
    until(lambda: iteration(ray_server, job) >= 3)
    with busy("Shard"):
        before = set(own_workers("Shard"))
        at = iteration(ray_server, job)
        ray_server.worker().kill()
        until(lambda: not before & set(own_workers("Shard")), FREE)
    done = ray_server.wait(job)
    assert (done.state, done.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 2), done.error
    assert at < done.metrics["n_iter"]
    assert done.metrics == whole.metrics
    for key in ("labels", "cluster_centers"):
        assert np.array_equal(ray_server.read(done, key), ray_server.read(whole, key))
    gone("Shard")


def test_a_cancelled_training_is_stopped_at_once_and_leaves_nothing(ray_server, training):
    worker = ray_server.worker().pid
    job = ray_server.submit(train=training | {"epochs": 100_000})
    ray_server.wait_until(job, lambda state: "loss" in state.progress.message)
    took = cancelled(ray_server, job)
    print(f"cancelled after {took:.2f} s; free {gone('RayTrainWorker', 'TrainController', 'Cleaner'):.2f} s later")
    assert took < SEEN
    assert ray_server.worker().pid == worker


def test_a_training_whose_server_worker_is_killed_goes_on_to_the_same_bits(ray_server, training):
    whole = ray_server.wait(ray_server.submit(train=training), timeout=280)
    job = ray_server.submit(train=training)
    ray_server.wait_until(job, lambda state: epoch(state) >= 40)
    before = {name: set(own_workers(name)) for name in ("RayTrainWorker", "TrainController", "Cleaner")}
    assert len(before["RayTrainWorker"]) == 2
    assert before["TrainController"]
    ray_server.worker().kill()
    began = time.monotonic()
    until(lambda: not any(old & set(own_workers(name)) for name, old in before.items()), FREE)
    print(f"free {time.monotonic() - began:.2f} s after the kill")
    done = ray_server.wait(job, timeout=280)
    assert (done.state, done.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 2), done.error
    assert np.array_equal(ray_server.read(done, "embedding"), ray_server.read(whole, "embedding"))
