"""``fastclust serve``: the server, as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from fastclust.errors import MissingPackageError

__all__ = ["check_installed", "serve"]


def check_installed() -> None:
    """Raise MissingPackageError unless the server's packages are there."""
    missing = [name for name in ("sqlalchemy", "grpc_health", "grpc_reflection") if find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"The server needs packages that are not installed ({', '.join(missing)}). "
            'Run: pip install "fastclust[cpu,server]"'
        )


def serve(
    *,
    listen: Annotated[str, typer.Option(help="host:port or unix:/path; port 0 takes a free one.")] = "127.0.0.1:50051",
    data: Annotated[Path, typer.Option(help="Folder of the server's data.")] = Path("fastclust-data"),
    ready_file: Annotated[Path | None, typer.Option(help="Written with the address once the server answers.")] = None,
) -> None:
    """Start the server on its embedded defaults: SQLite and files under --data, loopback only. Ctrl-C stops it."""
    check_installed()
    command = [sys.executable, "-m", "fastclust_server", "--listen", listen, "--data", str(data)]
    if ready_file is not None:
        command += ["--ready-file", str(ready_file)]
    process = subprocess.Popen(command)  # noqa: S603 - our own module
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: process.send_signal(received))
    raise typer.Exit(max(process.wait(), 0))
