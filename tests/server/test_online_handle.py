"""The front end's side of the link, with the other end played here: who reads, and who is woken by what."""

import contextlib
import socket
import threading

import pytest

from fastclust.errors import OperationCancelledError, UnavailableError, WaitTimeoutError
from fastclust_server.config import Settings
from fastclust_server.online.frames import Frame, Kind, Link
from fastclust_server.online.handle import OnlineHandle


class Context:
    """What a call asks of gRPC."""

    def __init__(self, seconds=None):
        self.seconds = seconds
        self.told = threading.Event()

    def time_remaining(self):
        return self.seconds

    def add_callback(self, callback):
        self.ended = callback
        self.told.set()
        return True


class Caller(threading.Thread):
    """One call; ``result`` is the response's bytes, or the error."""

    def __init__(self, handle, request, seconds=None):
        super().__init__(daemon=True)
        self.handle, self.request, self.context = handle, request, Context(seconds)
        self.start()

    def run(self):
        try:
            self.result = self.handle.call(0, "ann", self.request, self.context)
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.result = error

    def ended(self):
        self.join(10)
        assert not self.is_alive()
        return self.result


class Peer:
    """The online process."""

    def __init__(self, link):
        self.link = link
        self.calls = {}

    def take(self, count):
        """Wait until so many calls are here; their numbers, by the last byte of the request."""
        while len(self.calls) < count:
            for frame in self.link.burst():
                if frame.kind is Kind.CALL:
                    self.calls[frame.payload[-1:]] = frame.number
        return self.calls

    def reply(self, *requests):
        self.link.send(*(Frame(Kind.REPLY, self.calls[request], b"to " + request) for request in requests))


@pytest.fixture
def ends(tmp_path):
    batches = []
    handle = OnlineHandle(tmp_path, Settings(tmp_path), lambda *batch: batches.append(batch))
    ours, theirs = socket.socketpair()
    handle._link, peer = Link(ours), Peer(Link(theirs))
    yield handle, peer, batches
    for one in (ours, theirs):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def test_each_of_many_gets_its_own_answer_in_whatever_order_they_come(ends):
    handle, peer, batches = ends
    callers = [Caller(handle, bytes([number])) for number in range(20)]
    peer.take(20)
    peer.link.send(Frame(Kind.BATCH, 80, b"Assign"))
    for number in reversed(range(20)):
        peer.reply(bytes([number]))
    assert [caller.ended() for caller in callers] == [b"to " + bytes([number]) for number in range(20)]
    assert batches == [("Assign", 80)]
    assert (handle._led, handle._waiters, handle._bytes) == (False, {}, 0)


def test_who_reads_and_runs_out_of_time_leaves_the_reading_to_another(ends):
    handle, peer, _ = ends
    short = Caller(handle, b"a", seconds=0.2)
    short.context.told.wait(10)
    long = Caller(handle, b"b")
    peer.take(2)
    assert isinstance(short.ended(), WaitTimeoutError)
    peer.reply(b"b")
    assert long.ended() == b"to b"


def test_who_reads_and_is_cancelled_is_woken_by_the_other_end(ends):
    handle, peer, _ = ends
    alone = Caller(handle, b"a")
    peer.take(1)
    alone.context.told.wait(10)
    alone.context.ended()
    (cancel,) = peer.link.burst()
    assert (cancel.kind, cancel.number) == (Kind.CANCEL, peer.calls[b"a"])
    peer.link.send(Frame(Kind.CANCELLED, cancel.number, b""))
    assert isinstance(alone.ended(), OperationCancelledError)
    next_one = Caller(handle, b"b")
    peer.take(2)
    peer.reply(b"b")
    assert next_one.ended() == b"to b"


def test_all_are_told_when_the_other_end_is_gone(ends):
    handle, peer, _ = ends
    callers = [Caller(handle, bytes([number])) for number in range(5)]
    peer.take(5)
    peer.link.hang_up()
    assert [type(caller.ended()) for caller in callers] == [UnavailableError] * 5


def test_an_answer_in_pieces_is_whole(ends):
    handle, peer, _ = ends
    caller = Caller(handle, b"a")
    peer.take(1)
    one, other = socket.socketpair()
    Link(one).send(Frame(Kind.REPLY, peer.calls[b"a"], bytes(1000)))
    whole = other.recv(4096)
    for start in range(0, len(whole), 100):
        peer.link._end.sendall(whole[start : start + 100])
    assert caller.ended() == bytes(1000)


def test_an_answer_that_nobody_waits_for_does_not_hold_up_the_next_call(ends):
    """A large answer comes after its caller has gone; the other end reads nothing while it sends it."""
    handle, peer, _ = ends
    gone = Caller(handle, b"a", seconds=0.1)
    peer.take(1)
    assert isinstance(gone.ended(), WaitTimeoutError)
    late = Frame(Kind.REPLY, peer.calls[b"a"], bytes(2**23))
    sending = threading.Thread(target=peer.link.send, args=(late,), daemon=True)
    sending.start()
    next_one = Caller(handle, bytes(2**23) + b"b")  # more than a socket holds: it cannot be sent yet
    over = threading.Event()

    def look():
        while not over.wait(0.01):
            handle._drain(handle._link)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    sending.join(10)
    assert not sending.is_alive()
    peer.take(2)
    peer.reply(b"b")
    assert next_one.ended() == b"to b"
    over.set()
    looking.join()


def test_who_reads_for_nobody_leaves_the_link_to_the_callers_once_one_was_answered(ends, monkeypatch):
    """Else it would read for one caller after the other, each of whom would have to be woken."""
    handle, peer, _ = ends
    monkeypatch.setattr("fastclust_server.online.handle._PAUSE_SECONDS", 8.0)
    reading = threading.Thread(target=handle._drain, args=(handle._link,), daemon=True)
    reading.start()
    caller = Caller(handle, b"a")
    peer.take(1)
    peer.reply(b"a")
    assert caller.ended() == b"to a"
    reading.join(4)
    assert not reading.is_alive()
    alone = Caller(handle, b"b")
    peer.take(2)
    peer.reply(b"b")
    assert alone.ended() == b"to b"
