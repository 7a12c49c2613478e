"""Turns of tests in several processes: many at once, or one alone; who waits to be alone is not passed by others."""

import contextlib
import fcntl
from pathlib import Path

#: Files that all processes of a run have are locked, the first by who comes in, the second by who is in.
_DOOR, _ROOM = Path(__file__), Path(__file__).with_name("conftest.py")


@contextlib.contextmanager
def turn(*, alone, door=_DOOR, room=_ROOM):
    """Hold the room, with others or alone."""
    with door.open("rb") as outer, room.open("rb") as inner:
        fcntl.flock(outer, fcntl.LOCK_EX)
        fcntl.flock(inner, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(outer, fcntl.LOCK_UN)
        try:
            yield
        finally:
            # Said, and not left to the end of the file: a process that a test forked has the file too.
            fcntl.flock(inner, fcntl.LOCK_UN)
