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
    tracker = Tracker({})
    for fraction in (0.5, 0.2):
        tracker.update(Progress("kmeans", fraction))
    assert tracker.message().fraction == pytest.approx(0.5)


def test_a_run_that_knows_its_whole_is_believed():
    tracker = Tracker({})
    tracker.update(Progress("map", 1.0, "", 0.6))
    assert tracker.message().fraction == pytest.approx(0.6)


def test_the_time_left_is_told_once_the_pace_has_held():
    """Half a minute of compiling, then a hundredth a second."""
    at = [0.0]
    tracker = Tracker({}, lambda: at[0])
    heard = {}
    for at[0], share in [(0.0, 0.0), *((30.0 + step, step / 100) for step in range(1, 80))]:
        tracker.update(Progress("map", share))
        told = tracker.message()
        heard[share] = told.seconds_left if told.HasField("seconds_left") else None
    assert heard[0.01] is heard[0.03] is None
    assert heard[0.5] == pytest.approx(50.0)
    assert not tracker.finished().HasField("seconds_left")


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
