"""Every job store: who has a job, until when, and how an attempt ends."""

import time

import pytest

from fastclust.v1 import common_pb2
from fastclust_server.jobs.records import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED, Claim
from fastclust_server.jobs.rows import LostClaimError
from tests.contracts.making import artifact, finish, new


def test_jobs_are_claimed_oldest_first_and_once(store):
    made = [store.create(new()).id for _ in range(3)]
    claimed = [store.claim(f"w{number}", "s", 30).id for number in range(3)]
    assert claimed == made
    assert store.claim("w9", "s", 30) is None


def test_owners_take_turns_and_each_has_his_oldest_job_first(store):
    many = [store.create(new("ann")).id for _ in range(4)]
    few = [store.create(new("bob")).id for _ in range(2)]
    claimed = [store.claim("w", "s", 30).id for _ in range(6)]
    assert claimed == [many[0], few[0], many[1], few[1], many[2], many[3]]


def test_progress_is_kept_and_cleared_by_the_next_attempt(store):
    store.create(new())
    claimed = store.claim("w", "s", 30)
    assert store.heartbeat(claimed.claim, b"half") is False
    assert store.get("ann", claimed.id).progress == b"half"
    store.abandon("w")
    assert store.claim("w2", "s", 30).progress == b""


def test_a_completed_job_has_its_artifacts_and_figures(store):
    store.create(new())
    claimed = store.claim("w", "s", 30)
    done = finish(store, claimed.claim, artifacts=[artifact("labels"), artifact("centers")])
    assert (done.state, done.metrics, done.notes) == (SUCCEEDED, {"inertia": 1.5}, {"b": "c"})
    assert [record.key for record in store.artifacts(done.id)] == ["labels", "centers"]
    assert store.published() == {"x/1/labels.npy", "x/1/centers.npy"}
    assert store.unfinished() == set()


@pytest.mark.parametrize("act", ["heartbeat", "silent heartbeat", "complete", "fail", "cancelled"])
def test_a_worker_that_lost_its_job_changes_nothing(store, act):
    store.create(new())
    stale = store.claim("w1", "s", 30)
    store.abandon("w1")
    now = store.claim("w2", "s", 30)
    assert (now.id, now.attempt) == (stale.id, 2)
    calls = {
        "heartbeat": lambda: store.heartbeat(stale.claim, b"old"),
        "silent heartbeat": lambda: store.heartbeat(stale.claim, None),
        "complete": lambda: finish(store, stale.claim),
        "fail": lambda: store.fail(stale.claim, b""),
        "cancelled": lambda: store.cancelled(stale.claim),
    }
    with pytest.raises(LostClaimError):
        calls[act]()
    assert store.get("ann", now.id) == now
    assert store.artifacts(now.id) == []


def test_the_attempt_fences_even_a_worker_of_the_same_name(store):
    store.create(new())
    stale = store.claim("w", "s", 30)
    store.abandon("w")
    now = store.claim("w", "s", 30)
    with pytest.raises(LostClaimError):
        finish(store, stale.claim)
    finish(store, now.claim)


def test_a_job_cannot_be_completed_twice(store):
    store.create(new())
    claimed = store.claim("w", "s", 30)
    finish(store, claimed.claim)
    with pytest.raises(LostClaimError):
        finish(store, claimed.claim)


def test_a_job_that_killed_its_worker_too_often_fails_and_says_why(store):
    job = store.create(new(max_attempts=2))
    store.claim("w1", "s", 30)
    assert [record.state for record in store.abandon("w1")] == [QUEUED]
    store.claim("w2", "s", 30)
    assert [record.state for record in store.abandon("w2")] == [FAILED]
    error = common_pb2.Error.FromString(store.get("ann", job.id).error)
    assert error.reason == "WORKER_DIED"


def test_an_attempt_that_a_shutdown_took_away_is_not_lost(store):
    job = store.create(new(max_attempts=1))
    store.release(store.claim("w1", "s", 30).claim)
    assert store.get("ann", job.id).state == QUEUED
    again = store.claim("w2", "s", 30)
    assert again.attempt == 2
    finish(store, again.claim)


def test_recovery_puts_back_what_runs_under_other_servers_only(store):
    old, mine = store.create(new()), store.create(new())
    store.claim("w1", "old server", 30)
    store.claim("w2", "this server", 30)
    assert [record.id for record in store.recover("this server")] == [old.id]
    assert store.get("ann", mine.id).state == RUNNING


def test_an_expired_lease_of_another_server_is_reaped(store):
    dead, alive, mine = store.create(new()), store.create(new()), store.create(new())
    store.claim("w1", "lost server", 0.0)
    store.claim("w2", "other server", 0.0)
    store.claim("w3", "this server", 0.0)
    store.renew("w2", 30)
    time.sleep(0.01)
    assert [record.id for record in store.reap("this server")] == [dead.id]
    assert {store.get("ann", job.id).state for job in (alive, mine)} == {RUNNING}


def test_a_queued_job_is_cancelled_at_once(store):
    job = store.create(new())
    assert store.request_cancel("ann", job.id).state == CANCELLED
    assert store.claim("w", "s", 30) is None


def test_a_running_job_learns_of_its_cancellation_from_its_heartbeat(store):
    store.create(new())
    claimed = store.claim("w", "s", 30)
    assert store.request_cancel("ann", claimed.id).state == RUNNING
    assert store.heartbeat(claimed.claim, None) is True
    assert store.heartbeat(claimed.claim, b"x") is True
    assert store.cancelled(claimed.claim).state == CANCELLED


def test_a_cancelled_job_whose_worker_died_is_not_run_again(store):
    store.create(new())
    claimed = store.claim("w", "s", 30)
    store.request_cancel("ann", claimed.id)
    assert [record.state for record in store.abandon("w")] == [CANCELLED]


def test_cancelling_an_ended_job_changes_nothing(store):
    store.create(new())
    done = finish(store, store.claim("w", "s", 30).claim)
    assert store.request_cancel("ann", done.id) == done


def test_running_names_the_job_of_a_worker(store):
    job = store.create(new())
    assert store.running("w") is None
    store.claim("w", "s", 30)
    assert store.running("w").claim == Claim(job.id, "w", 1)
