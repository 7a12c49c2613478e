"""Every job store: what it keeps, whose it is, and what it refuses."""

import time

import pytest

from fastclust.errors import AlreadyExistsError, NotFoundError, OverloadedError, PreconditionError
from fastclust_server.database import Database
from fastclust_server.jobs.records import CANCELLED, QUEUED
from fastclust_server.jobs.store import JobStore
from tests.contracts.making import finish, new


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
