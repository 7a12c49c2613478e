"""Long maps on a server: they show how far they are, are cancelled, and outlive their worker to the same bits."""

import time

import numpy as np
import pytest

from fastclust.v1 import job_pb2

#: Within which a cancelled job ends: a promise.
CANCEL_SECONDS = 2
#: Seconds of work; a state is kept every second.
LONG = 7000


@pytest.fixture
def long_map(blobs):
    """Submits a map whose iterations take seconds."""

    def submit(server, **more):
        server.rows = getattr(server, "rows", None) or server.upload(blobs(900, 8)).name
        spec = {"dataset": server.rows, "max_iter": LONG, "random_state": 3, "perplexity": [20.0]}
        return server.submit(tsne=spec | more)

    return submit


def at(share):
    return lambda job: job.state == job_pb2.JOB_STATE_RUNNING and job.progress.fraction > share


def test_a_map_goes_on_where_a_killed_worker_or_server_left_it_to_the_same_bits(new_server, long_map, nothing_left):
    server = new_server().start()
    whole = server.wait(long_map(server))
    assert (whole.state, whole.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 1)
    assert "resumed_from" not in whole.notes
    expected = server.read(whole, "embedding")

    first, second = long_map(server), long_map(server)
    server.wait_until(first, at(0.5))
    server.worker().kill()
    server.wait_until(second, at(0.6))
    server.kill()
    nothing_left(server)
    server.start()
    for job, least in ((first, 50), (second, 50)):
        done = server.wait(job)
        assert (done.state, done.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 2), done.error
        assert least <= int(done.notes["resumed_from"]) < LONG
        assert np.array_equal(server.read(done, "embedding"), expected)
    end = time.monotonic() + 5
    while list((server.data / "work").iterdir()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not list((server.data / "work").iterdir())


@pytest.mark.alone
def test_a_map_shows_its_iterations_and_is_cancelled_within_two_seconds(new_server, long_map):
    server = new_server().start()
    job = long_map(server, max_iter=100_000)
    seen = []
    for state in server.watch(job):
        if state.progress.step == "tsne":
            seen.append((state.progress.fraction, state.progress.message))
        if len(seen) == 4:
            break
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(set(fractions))
    assert all(message.startswith("iteration ") for _, message in seen)
    server.cancel(job)
    begun = time.monotonic()
    assert server.wait(job).state == job_pb2.JOB_STATE_CANCELLED
    assert time.monotonic() - begun < CANCEL_SECONDS
    assert not server.events("worker_forced")


def test_what_the_library_takes_the_job_takes(new_server, long_map):
    server = new_server().start()
    spec = {"perplexity": [5.0, 15.0], "n_neighbors": 30, "exaggeration": 2.0, "n_components": 3, "max_iter": 30}
    done = server.wait(long_map(server, **spec))
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.error
    assert server.read(done, "embedding").shape == (900, 3)
