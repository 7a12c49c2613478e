"""One JSON line per event, to stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from typing import Any

__all__ = ["event", "failure", "hear_library"]


def event(name: str, **fields: Any) -> None:
    """Write one line: time, process, event and ``fields`` (job, attempt, request, ...); None is left out."""
    line = {"time": round(time.time(), 3), "pid": os.getpid(), "event": name}
    line.update({key: value for key, value in fields.items() if value is not None})
    try:
        # One write call: lines of the server and of its worker must not run into each other.
        os.write(sys.stderr.fileno(), (json.dumps(line, default=str) + "\n").encode())
    except (OSError, ValueError):
        # A log that cannot be written (closed pipe, full disk) must not stop the work.
        return


def failure(name: str, error: BaseException, **fields: Any) -> None:
    """Write one line with the traceback of ``error``."""
    event(name, error=repr(error), traceback="".join(traceback.format_exception(error)), **fields)


def hear_library() -> None:
    """Write what the library says through its logger as lines too."""
    logging.getLogger("fastclust").addHandler(_Lines())


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        event("library", level=record.levelname.lower(), message=record.getMessage())
