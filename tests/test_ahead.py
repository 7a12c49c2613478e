import threading
import time

import pytest

from fastclust.ahead import ahead


def test_items_come_in_order():
    assert list(ahead(range(1000))) == list(range(1000))
    assert list(ahead([])) == []


def test_what_the_items_raise_is_raised_after_those_before():
    def items():
        yield 1
        raise KeyError("no")

    reading = ahead(items())
    assert next(reading) == 1
    with pytest.raises(KeyError, match="no"):
        next(reading)


def test_no_more_than_the_depth_are_made_before_they_are_asked_for():
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    reading = ahead(items(), depth=3)
    next(reading)
    time.sleep(0.2)
    assert len(made) <= 6
    assert list(reading) == list(range(1, 100))


def test_a_reader_that_stops_early_leaves_no_thread():
    reading = ahead(iter(int, 1))
    next(reading)
    reading.close()
    until = time.monotonic() + 5
    while any(thread.name == "ahead" for thread in threading.enumerate()) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(thread.name == "ahead" for thread in threading.enumerate())
