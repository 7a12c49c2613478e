import threading
import time

import pytest

from fastclust_server.online.batching import Batcher, Item


def item(number, key="a", nbytes=10, seconds=60.0):
    return Item(number, key, nbytes, time.monotonic() + seconds, None)


def numbers(batch):
    return [one.number for one in batch]


def test_what_waits_under_one_key_is_one_batch():
    batcher = Batcher(1000)
    for number in range(5):
        batcher.put(item(number))
    assert numbers(batcher.take()) == [0, 1, 2, 3, 4]


def test_keys_are_not_mixed_and_the_oldest_goes_first():
    batcher = Batcher(1000)
    for number, key in enumerate("bab"):
        batcher.put(item(number, key))
    assert numbers(batcher.take()) == [0, 2]
    assert numbers(batcher.take()) == [1]


def test_a_batch_ends_at_its_bytes_and_one_call_may_be_larger():
    batcher = Batcher(25)
    for number, size in enumerate([10, 10, 10, 100, 1]):
        batcher.put(item(number, nbytes=size))
    assert [numbers(batcher.take()) for _ in range(4)] == [[0, 1], [2], [3], [4]]


def test_calls_that_nobody_waits_for_are_left_out():
    batcher = Batcher(1000)
    batcher.put(item(1))
    batcher.put(item(2, seconds=-1))
    batcher.put(item(3))
    batcher.cancel(3)
    batcher.cancel(99)
    batcher.put(item(4))
    assert numbers(batcher.take()) == [1, 4]
    assert not batcher._cancelled
    assert not batcher._held


def test_a_key_whose_calls_are_all_gone_does_not_end_the_wait():
    batcher = Batcher(1000)
    batcher.put(item(1, "a"))
    batcher.cancel(1)
    batcher.put(item(2, "b"))
    assert numbers(batcher.take()) == [2]


@pytest.mark.alone
def test_without_a_delay_a_call_goes_at_once():
    batcher = Batcher(1000)
    batcher.put(item(1))
    begun = time.monotonic()
    batcher.take()
    assert time.monotonic() - begun < 0.5


@pytest.mark.alone
def test_with_a_delay_a_call_waits_for_others_but_not_longer():
    batcher = Batcher(1000, delay=0.2)
    batcher.put(item(1))
    threading.Timer(0.05, lambda: batcher.put(item(2))).start()
    begun = time.monotonic()
    assert numbers(batcher.take()) == [1, 2]
    assert 0.15 < time.monotonic() - begun < 2


def test_a_full_batch_does_not_wait():
    batcher = Batcher(20, delay=30)
    batcher.put(item(1))
    batcher.put(item(2))
    assert numbers(batcher.take()) == [1, 2]


def test_closing_ends_the_wait():
    batcher = Batcher(1000)
    threading.Timer(0.05, batcher.close).start()
    assert batcher.take() is None


@pytest.mark.parametrize("delay", [0.0, 0.001])
def test_each_call_of_many_threads_is_in_one_batch(delay):
    batcher, taken = Batcher(35, delay), []

    def take():
        while (batch := batcher.take()) is not None:
            assert len({one.key for one in batch}) == 1
            taken.extend(numbers(batch))

    taker = threading.Thread(target=take)
    taker.start()
    putters = [
        threading.Thread(target=lambda base=base: [batcher.put(item(base + n, n % 3)) for n in range(200)])
        for base in (0, 1000, 2000)
    ]
    for thread in putters:
        thread.start()
    for thread in putters:
        thread.join()
    while batcher._held:
        time.sleep(0.01)
    batcher.close()
    taker.join()
    assert sorted(taken) == sorted(base + n for base in (0, 1000, 2000) for n in range(200))


def test_what_is_taken_at_once_is_small_and_wanted():
    batcher = Batcher(1000)
    for number, (key, size) in enumerate([("a", 10), ("a", 10), ("a", 30), ("b", 10)]):
        batcher.put(item(number, key, size), wake=False)
    assert batcher.take_now(25, lambda key: key == "b") == []
    assert numbers(batcher.take_now(25, lambda key: key == "a")) == [0, 1]
    assert batcher.take_now(25, lambda _key: True) == []  # the oldest is too large: it is the other thread's
    assert numbers(batcher.take()) == [2]
    assert numbers(batcher.take_now(25, lambda _key: True)) == [3]
    assert batcher.take_now(25, lambda _key: True) == []


def test_with_a_delay_nothing_is_taken_at_once():
    batcher = Batcher(1000, delay=0.01)
    batcher.put(item(1), wake=False)
    assert batcher.take_now(25, lambda _key: True) == []
    assert numbers(batcher.take()) == [1]
