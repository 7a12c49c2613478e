import threading

import pytest

from fastclust.errors import OperationCancelledError
from fastclust.progress import Progress, as_part, check, current, listening, report


def test_reports_reach_the_listener_of_this_thread_only():
    heard = []
    with listening(heard.append):
        report("fit", 1, 4, "one")
        other = threading.Thread(target=report, args=("other", 1, 1))
        other.start()
        other.join()
    report("fit", 2, 4)
    assert heard == [Progress("fit", 0.25, "one")]


@pytest.mark.parametrize(("done", "total", "fraction"), [(5, 4, 1.0), (-1, 4, 0.0), (0, 0, 1.0)])
def test_the_fraction_stays_between_zero_and_one(done, total, fraction):
    heard = []
    with listening(heard.append):
        report("fit", done, total)
    assert heard[0].fraction == fraction


def test_a_listener_that_raises_stops_the_work_and_is_removed():
    def stop(_progress):
        raise OperationCancelledError("asked to stop")

    def work():
        with listening(stop):
            report("fit", 1, 2)

    with pytest.raises(OperationCancelledError):
        work()
    assert current() is None


def test_a_part_is_told_as_a_stretch_of_the_whole_and_never_goes_back():
    heard = []
    with listening(heard.append), as_part("whole", "part", 0.5, 1.0):
        report("part", 1, 2, "half")
        report("other", 1, 1)
        report("part", 0, 2)
        report("part", 2, 2)
    assert [(told.step, told.fraction) for told in heard] == [("whole", f) for f in (0.75, 0.75, 0.75, 1.0)]
    assert heard[0].message == "half"
    with as_part("whole", "part", 0.0, 1.0):
        report("part", 1, 2)


def test_a_wish_to_stop_is_asked_for_without_a_report_in_parts_and_in_silence():
    check()
    asked, heard = [], []
    with listening(heard.append, check=lambda: asked.append(1)):
        check()
        with as_part("whole", "part", 0.0, 1.0), listening(None):
            check()
        with listening(None, check=lambda: asked.append(2)):
            check()
        check()
    check()
    assert asked == [1, 1, 2, 1]
    assert heard == []
