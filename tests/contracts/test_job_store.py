"""One suite for every job store: what its users rely on. A new store is one more fixture parameter."""

import contextlib
import threading
import time

import pytest
import sqlalchemy as sa

from fastclust.errors import AlreadyExistsError, NotFoundError, OverloadedError, PreconditionError
from fastclust.v1 import common_pb2, spec_pb2
from fastclust_server.database import Database, artifacts, datasets, jobs, turns, uploads
from fastclust_server.jobs.records import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED, ArtifactRecord, Claim, NewJob
from fastclust_server.jobs.rows import LostClaimError
from fastclust_server.jobs.store import JobStore


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request, tmp_path_factory):
    """One database of each kind, emptied before each test."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path_factory.mktemp('store') / 'jobs.db'}")
    else:
        database = Database(request.getfixturevalue("new_postgres_database")())
    database.prepare()
    yield database
    database.close()


@pytest.fixture
def database(shared):
    with shared.write() as connection:
        for table in (jobs, artifacts, datasets, uploads, turns):
            connection.execute(sa.delete(table))
    return shared


@pytest.fixture
def store(database):
    return JobStore(database, max_queued=50)


def new(owner="ann", clusters=3, request_id="", **others):
    spec = spec_pb2.JobSpec(kmeans=spec_pb2.KMeansSpec(clusters=spec_pb2.ClusterCount(fixed=clusters)))
    return NewJob(owner, "kmeans", spec.SerializeToString(deterministic=True), request_id=request_id, **others)


def artifact(key="labels", attempt=1, job="x"):
    return ArtifactRecord(key, "application/x-npy", b"", 4, 7, is_file=False, file=f"{job}/{attempt}/{key}.npy")


def finish(store, claim, **others):
    left = others.get("artifacts", [artifact()])
    return store.complete(claim, artifacts_=left, metrics={"inertia": 1.5}, notes={"b": "c"}, progress=b"")


def test_a_created_job_is_queued_and_found_again(store):
    job = store.create(new())
    assert store.get("ann", job.id) == job
    assert (job.state, job.attempt, job.max_attempts) == (QUEUED, 0, 3)


def test_a_job_survives_the_process_that_made_it(store, database):
    job = store.create(new())
    again = Database(database.engine.url.render_as_string(hide_password=False))
    again.prepare()
    assert JobStore(again).get("ann", job.id) == job
    again.close()


def test_another_owner_neither_sees_nor_cancels_nor_deletes_a_job(store):
    job = store.create(new("ann"))
    for act in (store.get, store.request_cancel, store.delete):
        with pytest.raises(NotFoundError):
            act("bob", job.id)
    assert store.page("bob") == []
    assert store.get("ann", job.id).state == QUEUED


def test_the_same_request_id_is_one_job(store):
    first = store.create(new(request_id="r"))
    assert store.create(new(request_id="r")).id == first.id
    assert len(store.page("ann")) == 1


def test_the_same_request_id_with_another_spec_is_refused(store):
    store.create(new(request_id="r"))
    with pytest.raises(AlreadyExistsError, match="another spec"):
        store.create(new(request_id="r", clusters=4))


def test_a_request_id_is_its_owners_own(store):
    assert store.create(new("ann", request_id="r")).id != store.create(new("bob", request_id="r", clusters=4)).id


def test_a_full_queue_refuses_and_says_when_to_come_back(store):
    for _ in range(50):
        store.create(new())
    with pytest.raises(OverloadedError) as caught:
        store.create(new())
    assert caught.value.retry_after > 0


def test_jobs_are_claimed_oldest_first_and_once(store):
    made = [store.create(new()).id for _ in range(3)]
    claimed = [store.claim(f"w{number}", "s", 30).id for number in range(3)]
    assert claimed == made
    assert store.claim("w9", "s", 30) is None


def test_workers_that_claim_at_once_never_get_the_same_job(store, database):
    made = {store.create(new()).id for _ in range(40)}
    claimed, guard = [], threading.Lock()
    others = [Database(database.engine.url.render_as_string(hide_password=False)) for _ in range(4)]

    def work(mine, worker):
        while (record := JobStore(mine).claim(worker, "s", 30)) is not None:
            with guard:
                claimed.append(record.id)

    threads = [threading.Thread(target=work, args=(one, f"w{number}")) for number, one in enumerate(others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in others:
        one.close()
    assert sorted(claimed) == sorted(made)


def test_owners_take_turns_and_each_has_his_oldest_job_first(store):
    many = [store.create(new("ann")).id for _ in range(4)]
    few = [store.create(new("bob")).id for _ in range(2)]
    claimed = [store.claim("w", "s", 30).id for _ in range(6)]
    assert claimed == [many[0], few[0], many[1], few[1], many[2], many[3]]


def test_an_owner_may_have_so_many_jobs_and_others_are_not_kept_from_theirs(database):
    store = JobStore(database, owner_jobs=2)
    first, _ = store.create(new("ann")), store.create(new("ann"))
    with pytest.raises(OverloadedError, match="2 of your jobs"):
        store.create(new("ann"))
    store.create(new("bob"))
    store.request_cancel("ann", first.id)
    store.create(new("ann"))


def test_jobs_that_ended_before_a_moment_are_named(store):
    store.create(new())
    done = finish(store, store.claim("w", "s", 30).claim)
    store.create(new())
    assert store.ended_before(time.time() + 1) == [("ann", done.id)]
    assert store.ended_before(time.time() - 100) == []


def test_writers_of_all_kinds_at_once_neither_wait_for_each_other_for_ever_nor_lose_a_change(store, database):
    """Claims, heartbeats, cancellations and reaping from several connections: each lock order is the same."""
    made = [store.create(new(f"owner{number % 3}")) for number in range(30)]
    errors, ended = [], []
    url = database.engine.url.render_as_string(hide_password=False)

    def work(name):
        mine = Database(url)
        mine_store = JobStore(mine)
        try:
            while (record := mine_store.claim(name, name, 30)) is not None:
                with contextlib.suppress(LostClaimError):
                    mine_store.heartbeat(record.claim, b"x")
                    finish(mine_store, record.claim, artifacts=[artifact(job=record.id)])
                    ended.append(record.id)
        except Exception as error:  # noqa: BLE001 - a thread's error must fail the test
            errors.append(error)
        finally:
            mine.close()

    def disturb():
        for job in made[::2]:
            store.request_cancel(job.owner, job.id)
            store.reap("nobody")

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(3)]
    threads.append(threading.Thread(target=disturb))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(ended) == len(set(ended))
    states = {job.id: job.state for owner in ("owner0", "owner1", "owner2") for job in store.page(owner)}
    # A worker may find a job of which it learns only later that it was cancelled.
    for job, state in states.items():
        if state == RUNNING:
            store.cancelled(store.get(next(one.owner for one in made if one.id == job), job).claim)
    assert set(states.values()) <= {SUCCEEDED, CANCELLED, RUNNING}
    assert {job for job, state in states.items() if state == SUCCEEDED} == set(ended)


def test_a_cancellation_that_meets_a_claim_does_not_end_the_job_under_its_worker(store, database):
    job = store.create(new())
    asking = threading.Thread(target=store.request_cancel, args=("ann", job.id))
    with database.write() as connection:
        held = {"state": RUNNING, "worker": "w", "attempt": 1}
        connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(**held))
        asking.start()
        time.sleep(0.3)
    asking.join()
    found = store.get("ann", job.id)
    assert (found.state, found.worker) == (RUNNING, "w")
    assert found.cancel_requested is not None
    assert finish(store, Claim(job.id, "w", 1)).state == SUCCEEDED


def test_a_cancellation_that_meets_the_end_leaves_the_result(store, database):
    job = store.create(new())
    record = store.claim("w", "s", 30)
    asking = threading.Thread(target=store.request_cancel, args=("ann", job.id))
    with database.write() as connection:
        connection.execute(sa.update(jobs).where(jobs.c.id == record.id).values(state=SUCCEEDED))
        asking.start()
        time.sleep(0.3)
    asking.join()
    found = store.get("ann", job.id)
    assert (found.state, found.cancel_requested) == (SUCCEEDED, None)


def test_every_change_takes_a_higher_sequence(store):
    first, second = store.create(new()), store.create(new())
    assert second.sequence > first.sequence
    claimed = store.claim("w", "s", 30)
    assert claimed.sequence > second.sequence
    store.heartbeat(claimed.claim, b"\x0a")
    assert store.get("ann", claimed.id).sequence > claimed.sequence
    assert store.sequence() == store.get("ann", claimed.id).sequence


def test_changes_since_are_those_of_the_jobs_asked_for(store):
    first, second = store.create(new()), store.create(new())
    assert [job.id for job in store.changed_since(0, [second.id])] == [second.id]
    assert store.changed_since(second.sequence, [first.id, second.id]) == []


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


def test_only_ended_jobs_can_be_deleted(store):
    job = store.create(new())
    with pytest.raises(PreconditionError, match="Cancel it first"):
        store.delete("ann", job.id)
    finish(store, store.claim("w", "s", 30).claim)
    store.delete("ann", job.id)
    assert store.artifacts(job.id) == []
    with pytest.raises(NotFoundError):
        store.get("ann", job.id)


def test_a_job_that_another_reads_cannot_be_deleted(store):
    first = store.create(new())
    finish(store, store.claim("w", "s", 30).claim)
    store.create(new(inputs=(first.name,)))
    with pytest.raises(PreconditionError, match="is read by"):
        store.delete("ann", first.id)


def test_a_job_on_a_data_set_that_is_gone_is_refused(store):
    with pytest.raises(NotFoundError, match="datasets/"):
        store.create(new(inputs=("datasets/" + 32 * "0",)))


def test_pages_go_back_in_time_without_gap_or_repetition(store):
    made = [store.create(new()).id for _ in range(7)]
    seen, before = [], None
    while page := store.page("ann", limit=3, before=before):
        seen += [job.id for job in page]
        before = page[-1].number
    assert seen == made[::-1]


def test_listing_filters_by_state_and_kind(store):
    first, _ = store.create(new()), store.create(new())
    store.request_cancel("ann", first.id)
    assert [job.id for job in store.page("ann", states=[CANCELLED])] == [first.id]
    assert store.page("ann", kinds=["tsne"]) == []
    assert len(store.page("ann", kinds=["tsne", "kmeans"])) == 2


def test_numbers_are_not_used_again_after_a_deletion(store):
    job = store.create(new())
    store.request_cancel("ann", job.id)
    store.delete("ann", job.id)
    assert store.create(new()).number > job.number


def test_running_names_the_job_of_a_worker(store):
    job = store.create(new())
    assert store.running("w") is None
    store.claim("w", "s", 30)
    assert store.running("w").claim == Claim(job.id, "w", 1)
