"""The pool that counts its calls: threads only as they are needed, and nothing that a call does ends one."""

import threading
import time

import pytest

from fastclust_server import pools
from fastclust_server.pools import CountedPool


@pytest.fixture
def pool():
    made = CountedPool(3, "test")
    yield made
    made.shutdown()


def settled(pool):
    until = time.monotonic() + 10
    while pool.held and time.monotonic() < until:
        time.sleep(0.001)
    return pool.held == 0


def test_calls_one_after_another_share_a_thread(pool):
    seen = set()
    for _ in range(20):
        pool.submit(lambda: seen.add(threading.current_thread().name))
        assert settled(pool)
    assert seen == {"test_0"}


def test_no_more_run_at_once_than_there_are_threads_and_all_are_counted(pool):
    go, running, most, guard = threading.Event(), [0], [0], threading.Lock()

    def call(step):
        with guard:
            running[0] += step
            most[0] = max(most[0], running[0])
        go.wait(10)
        with guard:
            running[0] -= step

    for _ in range(10):
        pool.submit(call, step=1)
    assert pool.held == 10
    until = time.monotonic() + 10
    while running[0] < 3 and time.monotonic() < until:
        time.sleep(0.001)
    go.set()
    assert settled(pool)
    assert most[0] == 3


def test_a_callback_is_called_once_whether_it_comes_before_or_after_the_end(pool):
    go, told = threading.Event(), []
    task = pool.submit(go.wait, 10)
    task.add_done_callback(lambda _task: told.append("before"))
    go.set()
    assert settled(pool)
    task.add_done_callback(lambda _task: told.append("after"))
    pool.shutdown()
    assert told == ["before", "after"]


def test_no_callback_is_lost_or_called_twice_in_a_race(pool):
    told, guard = [], threading.Lock()

    def tell(_task):
        with guard:
            told.append(1)

    for _ in range(2000):
        pool.submit(int).add_done_callback(tell)
    pool.shutdown()
    assert len(told) == 2000


def test_what_raises_does_not_end_its_thread_and_is_in_the_log(pool, monkeypatch):
    failures = []
    monkeypatch.setattr(pools.log, "failure", lambda name, error: failures.append((name, str(error))))

    def fail():
        raise ValueError("no")

    done = threading.Event()
    pool.submit(fail)
    pool.submit(done.set)
    assert done.wait(10)
    assert failures == [("pool_failed", "no")]


def test_a_closed_pool_ends_what_it_has_and_takes_nothing_more():
    pool, done = CountedPool(1, "test"), []
    for number in range(5):
        pool.submit(done.append, number)
    pool.shutdown()
    pool.shutdown()
    assert done == [0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(int)
