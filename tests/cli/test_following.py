"""What is shown of a job while it is followed."""

from types import SimpleNamespace

import pytest

from fastclust.cli import output, remote
from fastclust.client import JobStatus, Step
from fastclust.errors import OperationCancelledError
from fastclust_kernels.notices import COMPILING


def status(steps, step, message="", fraction=0.0, state="running", attempt=1):
    return JobStatus("jobs/x", state, "train", "", attempt, fraction, step, message, steps, None, 1, 0.0)


class Clock:
    """Monotonic time that a test moves."""

    now = 100.0

    def monotonic(self):
        return self.now


def states(clock):
    """A job of two steps, told of every ten seconds; what is left is told in the second half of the second."""
    for fraction, left in ((0.0, None), (0.4, None), (0.5, 61.0), (0.6, 43.0)):
        steps = (Step("read", 1.0, 3.0, reused=False), Step("teach", fraction, 9.0, reused=False, seconds_left=left))
        yield status(steps, "teach", "epoch 1", fraction)
        clock.now += 10.0


def test_a_log_has_a_line_of_the_step_under_way_with_its_message_and_what_is_left(monkeypatch):
    clock, said = Clock(), []
    monkeypatch.setattr(output, "time", clock)
    monkeypatch.setattr(output, "say", said.append)
    remote.follow(SimpleNamespace(name="jobs/x", watch=lambda: states(clock)), output.Display(None))
    assert said == [
        "jobs/x: running",
        "read       100 %",
        "teach        0 %  epoch 1",
        "teach       40 %  epoch 1",
        "teach       50 %  epoch 1, 1:01 left of it",
        "teach       60 %  epoch 1, 0:43 left of it",
    ]


def test_that_kernels_are_compiled_is_said_once_and_is_no_message_of_a_step(monkeypatch):
    said = []
    monkeypatch.setattr(output, "say", said.append)
    step = Step("teach", 0.0, 0.0, reused=False)
    told = [status(steps, name, COMPILING) for steps, name in (((), ""), ((step,), "teach"), ((step,), "teach"))]
    remote.follow(SimpleNamespace(name="jobs/x", watch=lambda: iter(told)), output.Display(None))
    assert said == ["jobs/x: running", COMPILING, "teach        0 %"]


def test_that_a_job_waits_and_that_it_is_begun_again_is_said(monkeypatch):
    said = []
    monkeypatch.setattr(output, "say", said.append)
    told = [
        status((), "", state="queued", attempt=0),
        *[status((Step("map", 0.1, 1.0, reused=False),), "map", attempt=2)] * 2,
    ]
    remote.follow(SimpleNamespace(name="jobs/x", watch=lambda: iter(told)), output.Display(None))
    assert said == ["jobs/x: queued", "attempt 2: what is on disk of the one before is taken over", "map         10 %"]


class Followed:
    """A job that is interrupted while it is followed."""

    name, address, cancelled = "jobs/x", "there:1", False

    def watch(self):
        raise KeyboardInterrupt
        yield

    def cancel(self):
        self.cancelled = True


@pytest.mark.parametrize(
    ("answer", "cancelled"), [("y", True), ("", False), (KeyboardInterrupt, False), (EOFError, False)]
)
def test_ctrl_c_asks_on_a_terminal_and_only_yes_cancels(monkeypatch, tmp_path, answer, cancelled):
    def asked(_question, **_options):
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr(remote, "console", SimpleNamespace(is_terminal=True, input=asked))
    job = Followed()
    words = "is being cancelled" if cancelled else "goes on.*fastclust jobs download jobs/x --server there:1 -o"
    with pytest.raises(OperationCancelledError, match=words):
        remote.finish(job, tmp_path, quiet=True)
    assert job.cancelled is cancelled


def test_ctrl_c_elsewhere_leaves_the_job_running(monkeypatch, tmp_path):
    monkeypatch.setattr(remote, "console", SimpleNamespace(is_terminal=False))
    with pytest.raises(OperationCancelledError, match="goes on"):
        remote.finish(Followed(), tmp_path, quiet=True)
