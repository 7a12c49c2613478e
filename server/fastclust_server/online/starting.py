"""Starts and ends the online process."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import TYPE_CHECKING

from fastclust_server import log
from fastclust_server.child import ENVIRONMENT, ONE_THREAD, command

if TYPE_CHECKING:
    from pathlib import Path

    from fastclust_server.config import Settings

__all__ = ["end", "start"]

_END_SECONDS = 3.0


def start(root: Path, settings: Settings) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start one; return it and our end of the link."""
    ours, theirs = socket.socketpair()
    arguments = ["--data", str(root), "--socket", str(theirs.fileno())]
    arguments += ["--memory", str(settings.online_memory), "--delay", str(settings.online_delay / 1000)]
    environment = os.environ | ENVIRONMENT | ONE_THREAD
    if settings.database is not None:
        environment["FASTCLUST_DATABASE"] = settings.database
    process = subprocess.Popen(  # noqa: S603 - the command is ours, word by word
        command("fastclust_server.online.process", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=2,
        env=environment,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    )
    theirs.close()
    log.event("online_started", online_pid=process.pid)
    return process, ours


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for its end, and insist."""
    try:
        code = process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    log.event("online_ended", online_pid=process.pid, code=code)
