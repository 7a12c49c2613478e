import json
import logging

import pytest

from fastclust.progress import NOTICE, Progress
from fastclust_server import log
from fastclust_server.jobs.tracker import Tracker, encode_steps


def test_steps_without_a_whole_are_weighed():
    tracker = Tracker({"neighbors": 1, "tsne": 3})
    tracker.update(Progress("neighbors", 1.0))
    assert tracker.message().fraction == pytest.approx(0.25)
    tracker.update(Progress("tsne", 0.5))
    assert tracker.message().fraction == pytest.approx(0.625)
    assert [step.name for step in tracker.message().steps] == ["neighbors", "tsne"]


def test_the_share_of_the_whole_never_goes_back():
    tracker = Tracker({"kmeans": 1})
    for fraction in (0.5, 0.2):
        tracker.update(Progress("kmeans", fraction))
    assert tracker.message().fraction == pytest.approx(0.5)


def test_a_run_that_knows_its_whole_is_believed():
    tracker = Tracker({})
    tracker.update(Progress("map", 1.0, "", 0.6))
    assert tracker.message().fraction == pytest.approx(0.6)


def left(told):
    """What is told to be left: of the whole, and of each step."""
    steps = {step.name: step.seconds_left for step in told.steps if step.HasField("seconds_left")}
    return told.seconds_left if told.HasField("seconds_left") else None, steps


def test_the_time_left_is_told_once_the_pace_has_held():
    """Half a minute of compiling, then a hundredth a second."""
    at = [0.0]
    tracker = Tracker({"map": 1}, lambda: at[0])
    heard = {}
    for at[0], share in [(0.0, 0.0), *((30.0 + step, step / 100) for step in range(1, 80))]:
        tracker.update(Progress("map", share))
        heard[share] = left(tracker.message())
    assert heard[0.01] == heard[0.03] == (None, {})
    assert heard[0.5] == (50.0, {"map": 50.0})
    assert left(tracker.finished()) == (None, {})


def test_of_the_whole_is_told_in_the_last_step_only():
    """The first of two steps takes nine times as long as was guessed: what it would say of the second is wrong."""
    at = [0.0]
    tracker = Tracker({"neighbors": 1, "tsne": 9}, lambda: at[0])
    heard = []
    for name, seconds in (("neighbors", 100.0), ("tsne", 100.0)):
        for share in range(101):
            tracker.update(Progress(name, share / 100))
            heard.append(left(tracker.message()))
            at[0] += seconds / 100
    assert heard[50] == (None, {"neighbors": 50.0})
    assert heard[100] == heard[101] == (None, {})
    assert heard[151] == (50.0, {"tsne": 50.0})


def test_nothing_is_told_of_work_that_may_end_at_any_time():
    at = [0.0]
    tracker = Tracker({"kmeans": 1}, lambda: at[0])
    for at[0] in range(100):
        tracker.update(Progress("kmeans", at[0] / 300, bound=True))
        assert left(tracker.message()) == (None, {})


def test_a_part_that_is_no_step_of_the_plan_does_not_move_the_whole():
    tracker = Tracker({"features": 1, "learn": 3})
    tracker.update(Progress("encode", 0.9))
    assert tracker.message().fraction == 0
    tracker.update(Progress("learn", 0.5))
    assert tracker.message().fraction == pytest.approx(0.625)


def test_a_step_that_is_come_back_to_keeps_its_seconds():
    at = [0.0]
    tracker = Tracker({"learn": 1}, lambda: at[0])
    for at[0], name in ((0.0, "learn"), (10.0, "learn"), (10.0, "encode"), (15.0, "learn"), (17.0, "learn")):
        tracker.update(Progress(name, at[0] / 20))
    assert {step.name: step.seconds for step in tracker.message().steps}["learn"] == 12.0


def test_nothing_is_done_before_it_is_published():
    tracker = Tracker({"kmeans": 1})
    tracker.update(Progress("kmeans", 1.0))
    assert tracker.message().fraction < 1
    assert tracker.finished().fraction == 1


def test_recorded_steps_replace_those_that_were_timed():
    tracker = Tracker({})
    tracker.update(Progress("map", 0.5))
    done = tracker.finished(encode_steps([{"name": "read", "seconds": 2.0, "reused": True}]))
    assert [(step.name, step.seconds, step.reused, step.fraction) for step in done.steps] == [("read", 2.0, True, 1.0)]


def test_a_notice_is_a_message_and_no_step():
    tracker = Tracker({"teach": 1.0})
    tracker.update(Progress("teach", 0.5, "epoch 1"))
    tracker.update(Progress(NOTICE, 0.0, "kernels"))
    told = tracker.message()
    assert (told.step, told.fraction, told.message) == ("teach", 0.5, "kernels")
    assert [step.name for step in told.steps] == ["teach"]


def test_what_the_library_logs_is_a_line_of_the_servers_log(capfd):
    logger = logging.getLogger("fastclust")
    before = list(logger.handlers)
    log.hear_library()
    try:
        logger.warning("a word")
    finally:
        logger.handlers[:] = before
    line = json.loads(capfd.readouterr().err)
    assert (line["event"], line["level"], line["message"]) == ("library", "warning", "a word")
