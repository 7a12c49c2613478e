"""Several workers: which GPU is whose, and two jobs at once."""

import time

import pytest

from fastclust.v1 import job_pb2
from fastclust_server.gpus import Gpu
from fastclust_server.jobs.workers import places

BUS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.mark.parametrize(
    ("count", "shown", "there", "expected"),
    [
        (0, None, 0, [{}]),
        (2, None, 0, [{}, {}]),
        (0, None, 2, [{"CUDA_VISIBLE_DEVICES": "0"} | BUS, {"CUDA_VISIBLE_DEVICES": "1"} | BUS]),
        (1, None, 2, [{"CUDA_VISIBLE_DEVICES": "0"} | BUS]),
        (0, "3, GPU-5f", 8, [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "GPU-5f"}]),
        (3, "3,1", 8, [{"CUDA_VISIBLE_DEVICES": device} for device in "313"]),
        (0, "", 8, [{}]),
    ],
)
def test_each_worker_sees_the_gpu_that_is_its_own(count, shown, there, expected):
    environment = {} if shown is None else {"CUDA_VISIBLE_DEVICES": shown}
    assert places(count, environment, lambda: [Gpu(number, 0, 1) for number in range(there)]) == expected


def pids(server):
    return {one.pid for one in server.processes() if "fastclust_server.jobs.worker" in one.info["cmdline"]}


def test_two_workers_run_two_jobs_and_the_loss_of_one_is_no_loss_of_the_other(new_server, blobs, nothing_left):
    server = new_server("--workers", "2").start()
    data = server.upload(blobs(300, 8))
    maps = [
        server.submit(tsne={"dataset": data.name, "max_iter": 100_000, "random_state": seed, "perplexity": [20.0]})
        for seed in range(2)
    ]
    for job in maps:
        server.wait_until(job, lambda state: state.progress.fraction > 0)
    before = pids(server)
    killed = server.worker()
    killed.kill()
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline
        seen = [server.jobs.GetJob(job_pb2.GetJobRequest(name=job.name)) for job in maps]
        again = [job for job in seen if job.attempt == 2]
        if again and again[0].progress.fraction > 0:
            break
        time.sleep(0.05)
    (other,) = [job for job in seen if job.attempt == 1]
    assert other.state in {job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_SUCCEEDED}
    # The process that it ran in is still there.
    assert before - {killed.pid} <= pids(server)
    assert server.stop() == 0
    nothing_left(server)
