"""Every job store under several writers at once: nothing is given twice, overwritten or lost."""

import contextlib
import threading
import time

import sqlalchemy as sa

from fastclust_server.database import Database, jobs
from fastclust_server.jobs.records import CANCELLED, RUNNING, SUCCEEDED, Claim
from fastclust_server.jobs.rows import LostClaimError
from fastclust_server.jobs.store import JobStore
from tests.contracts.making import artifact, finish, new


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
