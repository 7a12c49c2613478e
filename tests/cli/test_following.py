"""What is shown of a job while it is followed."""

from types import SimpleNamespace

from fastclust.cli import output, remote
from fastclust_kernels.notices import COMPILING


class Clock:
    """Monotonic time that a test moves."""

    now = 100.0

    def monotonic(self):
        return self.now


def states(clock):
    """A job of two steps, told of every ten seconds; its first tenth takes a minute."""
    for fraction in (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        steps = (
            SimpleNamespace(name="read", fraction=1.0, reused=False),
            SimpleNamespace(name="teach", fraction=fraction, reused=False),
        )
        yield SimpleNamespace(steps=steps, step="teach", message="epoch 1", fraction=fraction, ended=False)
        clock.now += 10.0


def test_a_log_has_a_line_of_the_step_under_way_with_its_message_and_what_is_left(monkeypatch):
    clock, said = Clock(), []
    monkeypatch.setattr(output, "time", clock)
    monkeypatch.setattr(output, "say", said.append)
    monkeypatch.setattr(remote, "StepPace", lambda: remote_pace(clock.monotonic))
    remote.follow(SimpleNamespace(watch=lambda: states(clock)), output.Display(None))
    assert said == [
        "read       100 %",
        *["teach        0 %  epoch 1"] * 6,
        "teach       10 %  epoch 1",
        "teach       20 %  epoch 1",
        "teach       30 %  epoch 1",
        "teach       40 %  epoch 1, 1:00 left of it",
        "teach       50 %  epoch 1, 1:00 left of it",
        "teach       60 %  epoch 1, 0:43 left of it",
    ]


def test_that_kernels_are_compiled_is_said_once_and_is_no_message_of_a_step(monkeypatch):
    said = []
    monkeypatch.setattr(output, "say", said.append)
    step = SimpleNamespace(name="teach", fraction=0.0, reused=False)
    told = [
        SimpleNamespace(steps=steps, step=name, message=COMPILING, fraction=0.0, ended=False)
        for steps, name in (((), ""), ((step,), "teach"), ((step,), "teach"))
    ]
    remote.follow(SimpleNamespace(watch=lambda: iter(told)), output.Display(None))
    assert said == [COMPILING, "teach        0 %"]


remote_pace = remote.StepPace
