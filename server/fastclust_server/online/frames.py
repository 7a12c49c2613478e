"""The link between the front end and the online process: frames over a socket pair."""

from __future__ import annotations

import contextlib
import math
import select
import socket
import struct
import threading
from enum import IntEnum
from typing import NamedTuple

__all__ = ["METHODS", "Frame", "Kind", "Link", "pack_call", "unpack_call"]

#: Methods of OnlineService, by their number in a frame.
METHODS = ("Assign", "Search", "Embed", "Mahalanobis")
_HEAD = struct.Struct("<IBQ")
_CALL = struct.Struct("<BHd")
_READ = 2**18
#: Seconds beyond which nobody looks at the time.
_LONGEST = 10.0**6


class Kind(IntEnum):
    """What a frame is."""

    #: To the online process: a call; the caller went away; a job was deleted.
    CALL = 1
    CANCEL = 2
    FORGET = 3
    #: From it: the response's bytes; google.rpc.Status; method and rows of a batch; a CANCEL was read.
    REPLY = 4
    REFUSAL = 5
    BATCH = 6
    CANCELLED = 7


_KINDS = {int(kind): kind for kind in Kind}


class Frame(NamedTuple):
    """One message. ``number`` is the call's."""

    kind: Kind
    number: int
    payload: bytes


def pack_call(method: int, owner: str, seconds: float, request: bytes) -> bytes:
    """Return the payload of a CALL; ``seconds`` until the caller gives up, infinite where he never does."""
    name = owner.encode()
    return b"".join((_CALL.pack(method, len(name), seconds), name, request))


def unpack_call(payload: bytes) -> tuple[int, str, float, bytes]:
    """Return (method, owner, seconds, request)."""
    method, length, seconds = _CALL.unpack_from(payload)
    end = _CALL.size + length
    return method, payload[_CALL.size : end].decode(), seconds, payload[end:]


class Link:
    """One end. Any thread may send; one thread reads."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._held = bytearray()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)
        self._sending = threading.Lock()

    def send(self, *frames: Frame) -> None:
        """Send frames together. Raises OSError where the other end is gone."""
        parts = []
        for frame in frames:
            parts += [_HEAD.pack(len(frame.payload), frame.kind, frame.number), frame.payload]
        data = b"".join(parts)
        with self._sending:
            self._end.sendall(data)

    def ready(self, seconds: float) -> bool:
        """Wait until something came, or the other end is gone; return whether it is so. One thread at a time."""
        return bool(self._poll.poll(max(seconds, 0.0) * 1000))

    def burst(self, seconds: float = math.inf) -> list[Frame] | None:
        """Wait for frames and return what came at once; None when the other end is gone. One thread at a time.

        Without a whole frame within ``seconds`` the list is empty.
        """
        if seconds < _LONGEST and not self.ready(seconds):
            return []
        try:
            came = self._end.recv(_READ)
        except OSError:
            return None
        if not came:
            return None
        held = self._held
        held += came
        place, burst = 0, []
        while len(held) - place >= _HEAD.size:
            size, kind, number = _HEAD.unpack_from(held, place)
            end = place + _HEAD.size + size
            if len(held) < end:
                break
            burst.append(Frame(_KINDS[kind], number, bytes(held[place + _HEAD.size : end])))
            place = end
        del held[:place]
        return burst

    def hang_up(self) -> None:
        """Tell the other end, and whoever reads here, that it is over. Any thread."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close this end."""
        self._end.close()
