"""What is told of the time left is nearly right, or nothing."""

import pytest

from fastclust.pace import Pace


def told(units, waits=()):
    """What is told as units of these seconds are done, each with the true rest: (second, told, true).

    ``waits`` are further seconds, between units, at which it is asked.
    """
    at = [0.0]
    pace = Pace(lambda: at[0])
    ends = [0.0]
    for unit in units:
        ends.append(ends[-1] + unit)
    found = []
    for second in sorted({*ends, *waits}):
        at[0] = second
        done = sum(end <= second for end in ends) - 1
        found.append((second, pace.seconds_left(done / len(units)), ends[-1] - second))
    return found


def test_what_is_even_is_told_soon_and_to_the_second():
    found = told([1.0] * 100)
    assert [left for _, left, _ in found[:3]] == [None] * 3
    assert all(left == pytest.approx(rest) for _, left, rest in found if rest <= 80)
    # Three seconds say nothing of a minute and a half: no stretch is taken for more than twenty times itself.
    assert found[3][1] is None


def test_a_first_unit_with_kernels_to_compile_is_no_measure():
    """As the demo of a newcomer: 100 s for the first of 300 iterations promised eight hours of it."""
    found = told([100.0] + [0.5] * 299)
    assert all(left is None for second, left, _ in found if second < 103)
    known = [(left, rest) for _, left, rest in found if left is not None and rest > 0]
    assert len(known) > 250
    assert all(0.6 < left / rest < 1.6 for left, rest in known)


def test_a_leap_and_a_stop_are_no_pace():
    at = [0.0]
    pace = Pace(lambda: at[0])
    heard = []
    for at[0], share in [(float(second), 0.001 * second) for second in range(20)] + [(20.0, 0.9), (24.0, 0.95)]:
        heard.append(pace.seconds_left(share))
    assert heard == [None] * 22


def test_between_units_the_rest_counts_down_and_after_too_long_a_wait_nothing_is_told():
    found = {second: left for second, left, _ in told([10.0] * 6 + [100.0], waits=(55.0, 79.0, 81.0))}
    assert found[50.0] == pytest.approx(20.0)
    assert found[55.0] == pytest.approx(15.0)
    assert found[79.0] == 0.0
    assert found[81.0] is None


def test_a_share_that_goes_back_begins_anew():
    at = [0.0]
    pace = Pace(lambda: at[0])
    for at[0] in range(10):
        pace.seconds_left(0.5 + at[0] / 100)
    assert pace.seconds_left(0.0) is None
    for at[0] in range(10, 41):
        left = pace.seconds_left((at[0] - 9) / 40)
    assert left == pytest.approx(9.0)


def test_thousands_of_reports_leave_hundreds():
    at = [0.0]
    pace = Pace(lambda: at[0])
    for step in range(5000):
        at[0] = step / 100
        left = pace.seconds_left(step / 10_000)
    assert left == pytest.approx(50.01, rel=1e-3)
    assert len(pace._times) <= 257
