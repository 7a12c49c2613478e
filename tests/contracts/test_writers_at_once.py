"""Every job store under several writers at once: nothing is given twice, overwritten or lost."""

import contextlib
import threading
import time

import pytest
import sqlalchemy as sa

from fastclust.errors import OverloadedError
from fastclust_server.database import Database, jobs
from fastclust_server.jobs.records import CANCELLED, FAILED, RUNNING, SUCCEEDED, Claim
from fastclust_server.jobs.rows import LostClaimError
from fastclust_server.jobs.store import JobStore
from fastclust_server.storage.catalog import Catalog
from tests.contracts.making import artifact, finish, imported, new


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


def leave(store, claim, dataset, most):
    left = [artifact(job=claim.job)]
    given = {"artifacts_": left, "metrics": {}, "notes": {}, "progress": b""}
    return store.complete(claim, **given, dataset=dataset, owner_bytes=most)


def test_imports_that_each_fitted_do_not_exceed_the_quota_together(store, database):
    """Four workers on connections of their own, each with 40 of 100 bytes: two data sets come to be, whichever."""
    made = [store.create(new()) for _ in range(4)]
    claims = [store.claim(f"w{number}", "s", 30).claim for number in range(4)]
    url = database.engine.url.render_as_string(hide_password=False)
    together, refused, guard = threading.Barrier(4), [], threading.Lock()

    def end(claim):
        mine = Database(url)
        together.wait()
        try:
            leave(JobStore(mine), claim, imported(40), 100)
        except OverloadedError as error:
            with guard:
                refused.append((claim, str(error)))
        finally:
            mine.close()

    threads = [threading.Thread(target=end, args=(claim,)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 2
    catalog = Catalog(database)
    # Results of those that ended count too.
    assert catalog.owner_bytes("ann") == 2 * 40 + 2 * 4
    assert len(catalog.page_datasets("ann", 0, 10, None)) == 2
    for claim, told in refused:
        assert told.startswith("The data set needs 40 bytes; you keep 92 of the 100 that you may.")
        # Nothing of it was kept, and it still is the worker's job, to be failed.
        assert store.artifacts(claim.job) == []
        assert store.get("ann", claim.job).dataset is None
        assert store.fail(claim, b"why").error == b"why"
    assert {store.get("ann", job.id).state for job in made} == {SUCCEEDED, FAILED}


def test_a_quota_is_the_owners_own_and_may_be_filled(store):
    for owner in ("ann", "bob"):
        store.create(new(owner))
    for _ in range(2):
        record = store.claim("w", "s", 30)
        assert leave(store, record.claim, imported(96, record.owner), 100).state == SUCCEEDED
    store.create(new("ann"))
    record = store.claim("w", "s", 30)
    with pytest.raises(OverloadedError):
        leave(store, record.claim, imported(1, "ann"), 100)
