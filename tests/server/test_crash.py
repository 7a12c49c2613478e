"""kill -9 of the worker, and of the server alone: nothing is left behind, and the job finishes in attempt 2."""

import time

import grpc
import numpy as np
import pytest

from fastclust.v1 import job_pb2, spec_pb2

CODE = grpc.StatusCode


@pytest.fixture
def long_map(blobs):
    """Submits a job that is at work for seconds."""

    def submit(server, max_iter=6000):
        data = server.upload(blobs(600, 8))
        return server.submit(tsne={"dataset": data.name, "max_iter": max_iter, "random_state": 0, "perplexity": [20.0]})

    return submit


@pytest.fixture(scope="module")
def shared(tmp_path_factory, server_class, nothing_left):
    """One server for those tests that lose no more than its worker."""
    server = server_class(tmp_path_factory.mktemp("crash") / "data").start()
    yield server
    server.stop()
    nothing_left(server)


def under_way(job):
    return job.state == job_pb2.JOB_STATE_RUNNING and job.progress.fraction > 0.02


def complete(server, job):
    places = server.read(job, "embedding")
    assert places.shape == (600, 2)
    assert np.isfinite(places).all()


def test_a_job_whose_worker_was_killed_finishes_in_attempt_two(shared, long_map):
    job = long_map(shared)
    shared.wait_until(job, under_way)
    shared.worker().kill()
    done = shared.wait(job)
    assert (done.state, done.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 2)
    complete(shared, done)
    assert len(shared.processes()) == 2  # the server and its new worker


def test_a_kill_of_the_server_alone_leaves_no_process_and_loses_no_job(new_server, long_map, nothing_left):
    server = new_server().start()
    job, waiting = long_map(server), long_map(server, 250)
    server.wait_until(job, under_way)
    server.kill()
    nothing_left(server)
    server.start()
    done = server.wait(job)
    assert (done.state, done.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 2)
    complete(server, done)
    assert server.wait(waiting).attempt == 1


def test_a_worker_dies_with_a_server_that_is_killed_before_any_job(new_server, nothing_left):
    server = new_server().start()
    server.worker()
    server.kill()
    nothing_left(server)


def test_a_job_that_kills_its_worker_three_times_fails_and_the_next_one_runs(new_server, long_map, blobs):
    server = new_server().start()
    job = long_map(server, 20_000)
    for attempt in (1, 2, 3):
        server.wait_until(job, lambda now, attempt=attempt: under_way(now) and now.attempt == attempt)
        server.worker().kill()
    done = server.wait(job)
    assert (done.state, done.error.reason, done.attempt) == (job_pb2.JOB_STATE_FAILED, "WORKER_DIED", 3)
    data = server.upload(blobs(50, 3))
    spec = spec_pb2.KMeansSpec(dataset=data.name, clusters=spec_pb2.ClusterCount(fixed=2))
    assert server.wait(server.submit(kmeans=spec)).state == job_pb2.JOB_STATE_SUCCEEDED


def test_a_shutdown_puts_the_job_back_without_counting_the_attempt(new_server, long_map, nothing_left):
    server = new_server().start()
    job = long_map(server)
    server.wait_until(job, under_way)
    assert server.stop() == 0
    nothing_left(server)
    server.start()
    done = server.wait(job)
    assert (done.state, done.attempt, done.max_attempts) == (job_pb2.JOB_STATE_SUCCEEDED, 2, 4)
    complete(server, done)


def test_a_shutdown_ends_watches_with_a_word(new_server, long_map, refused):
    server = new_server().start()
    job = long_map(server, 20_000)
    stream = server.watch(job)
    next(stream)
    server.process.terminate()
    with refused(CODE.UNAVAILABLE) as told:
        list(stream)
    assert told["reason"] == "UNAVAILABLE"
    assert server.stop() == 0


def test_a_killed_pipeline_takes_its_finished_steps_over(shared, blobs):
    server = shared
    data = server.upload(blobs(400, 8))
    pipeline = spec_pb2.PipelineSpec(
        dataset=data.name,
        steps=["report"],
        perplexity=10.0,
        map_max_iter=4000,
        clusters=spec_pb2.ClusterCount(fixed=4),
        random_state=0,
    )
    job = server.submit(pipeline=pipeline)
    server.wait_until(job, lambda now: now.progress.step == "map")
    server.worker().kill()
    done = server.wait(job)
    assert (done.state, done.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 2), done.error
    reused = {step.name for step in done.progress.steps if step.reused}
    assert {"features", "graph", "clusters"} <= reused
    assert not {"map", "report"} & reused
    assert server.read(done, "map").shape == (400, 2)
    until = time.monotonic() + 10
    while list((server.data / "work").iterdir()) and time.monotonic() < until:
        time.sleep(0.05)
    assert not list((server.data / "work").iterdir())


def test_leftovers_of_a_crash_are_swept_and_results_stay(new_server, blobs, ids):
    server = new_server().start()
    data = server.upload(blobs(50, 3))
    spec = spec_pb2.KMeansSpec(dataset=data.name, clusters=spec_pb2.ClusterCount(fixed=2))
    done = server.wait(server.submit(kmeans=spec))
    server.kill()
    orphan = 32 * "b"
    (server.data / "uploads" / f"{orphan}.npy").write_bytes(b"x")
    (server.data / "datasets" / f"{orphan}.npy").write_bytes(b"x")
    (server.data / "artifacts" / orphan / "1").mkdir(parents=True)
    (server.data / "artifacts" / ids(done.name) / "9").mkdir()
    (server.data / "work" / orphan).mkdir()
    server.start()
    assert not [path for path in server.data.rglob("*") if orphan in path.name or path.name == "9"]
    assert server.read(done, "labels").shape == (50,)
    assert server.upload(blobs(5, 3)).row_count == 5


def test_an_upload_killed_between_rename_and_row_goes_back(new_server, blobs, ids):
    server = new_server().start()
    rows = blobs(50, 3)
    session = server.create_upload(rows)
    server.send(session.name, rows.tobytes())
    server.kill()
    name = f"{ids(session.name)}.npy"
    (server.data / "uploads" / name).rename(server.data / "datasets" / name)
    server.start()
    assert server.finish(session.name, rows.tobytes()).row_count == 50


def test_a_running_job_is_cancelled(shared, long_map, ids):
    server = shared
    before = [len(server.events(event)) for event in ("worker_forced", "worker_started")]
    job = long_map(server, 20_000)
    server.wait_until(job, under_way)
    asked = server.cancel(job)
    assert (asked.state, asked.cancel_requested) == (job_pb2.JOB_STATE_RUNNING, True)
    begun = time.monotonic()
    done = server.wait(job)
    assert done.state == job_pb2.JOB_STATE_CANCELLED
    assert time.monotonic() - begun < 10  # five times the target
    end = time.monotonic() + 5
    while (server.data / "artifacts" / ids(job.name)).exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not (server.data / "artifacts" / ids(job.name)).exists()
    assert [len(server.events(event)) for event in ("worker_forced", "worker_started")] == before


def test_a_queued_job_is_cancelled_at_once_while_another_runs(shared, long_map):
    server = shared
    running, queued = long_map(server, 20_000), long_map(server, 20_000)
    server.wait_until(running, under_way)
    assert server.cancel(queued).state == job_pb2.JOB_STATE_CANCELLED
    server.cancel(running)
    server.wait(running)
    assert server.get(queued).attempt == 0


def test_a_job_that_does_not_listen_is_forced(shared, long_map):
    server = shared
    before = len(server.events("worker_forced"))
    job = long_map(server, 20_000)
    server.wait_until(job, under_way)
    server.worker().suspend()  # as a kernel that never comes back
    server.cancel(job)
    done = server.wait(job, timeout=30)
    assert done.state == job_pb2.JOB_STATE_CANCELLED
    assert len(server.events("worker_forced")) == before + 1


def test_a_data_set_that_a_job_reads_is_not_deleted(shared, long_map, refused):
    from fastclust.v1 import dataset_pb2

    server = shared
    job = long_map(server, 20_000)
    with refused(CODE.FAILED_PRECONDITION) as told:
        server.datasets.DeleteDataset(dataset_pb2.DeleteDatasetRequest(name=job.spec.tsne.dataset))
    assert job.name in told["message"]
    with refused(CODE.FAILED_PRECONDITION):
        server.jobs.DeleteJob(job_pb2.DeleteJobRequest(name=job.name))
    with refused(CODE.FAILED_PRECONDITION):
        server.read(job, "embedding")
    server.cancel(job)
