"""A stand-in for ``torch.cuda`` whose streams do what they were told as late, or as early, as their events allow."""

from __future__ import annotations

import contextlib

import torch


class Cuda:
    """Two streams, "copies" and "work". What one is told it does when it must: when the host waits, or at the end.

    ``eager`` names a stream that does everything as soon as no event holds it back; the other is late. An order that
    only luck keeps is lost in one of the two.
    """

    def __init__(self, eager: str) -> None:
        self.eager, self.queues = eager, {"copies": [], "work": []}
        self._now, outer = "work", self

        class Event:
            recorded = reached = 0

            def record(self, stream):
                self.recorded += 1
                outer.tell(stream.name, ("reach", self, self.recorded))

            def synchronize(self):
                while self.reached < self.recorded:
                    assert outer.one(), "the host waits for ever"

        class Stream:
            def __init__(self, device=None, name="copies"):
                self.name = name

            def wait_event(self, event):
                outer.tell(self.name, ("wait", event, event.recorded))

        self.Event, self.Stream, self._work = Event, Stream, Stream(name="work")

    def current_stream(self, device):
        return self._work

    @contextlib.contextmanager
    def stream(self, stream):
        self._now = stream.name
        yield
        self._now = "work"

    def launch(self, what):
        """Have the stream of the moment call ``what``."""
        self.tell(self._now, ("do", what, 0))

    def tell(self, name, order):
        self.queues[name].append(order)
        while self._step(self.eager):
            pass

    def _step(self, name):
        if not self.queues[name]:
            return False
        what, of, number = self.queues[name][0]
        if what == "wait" and of.reached < number:
            return False
        self.queues[name].pop(0)
        if what == "do":
            of()
        elif what == "reach":
            of.reached = number
        return True

    def one(self):
        """Do one thing, of the eager stream if it can; false if none can."""
        return self._step(self.eager) or any(self._step(each) for each in self.queues)

    def finish(self):
        while self.one():
            pass
        assert not any(self.queues.values())


class Late(torch.Tensor):
    """A tensor into which ``copy_(..., non_blocking=True)`` copies when its stream gets there."""

    cuda: Cuda

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.Tensor.copy_ and kwargs.get("non_blocking"):
            to, given = (each.as_subclass(torch.Tensor) for each in args)
            args[0].cuda.launch(lambda: to.copy_(given))
            return args[0]
        found = super().__torch_function__(function, types, args, kwargs)
        if isinstance(found, Late):
            found.cuda = args[0].cuda
        return found
