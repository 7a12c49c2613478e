"""What is shown of a job while it is followed."""

from types import SimpleNamespace

from fastclust.cli import output, remote


class Clock:
    """Monotonic time that a test moves."""

    now = 100.0

    def monotonic(self):
        return self.now


def states(clock):
    """A job of two steps, told of every ten seconds."""
    for fraction in (0.0, 0.1, 0.2, 0.5):
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
    monkeypatch.setattr(remote, "Pace", lambda: remote_pace(clock.monotonic))
    remote.follow(SimpleNamespace(watch=lambda: states(clock)), output.Display(None))
    assert said == [
        "read       100 %",
        "teach        0 %  epoch 1",
        "teach       10 %  epoch 1, 1:30 left of it",
        "teach       20 %  epoch 1, 1:20 left of it",
        "teach       50 %  epoch 1, 0:30 left of it",
    ]


remote_pace = remote.Pace
