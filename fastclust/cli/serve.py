"""``fastclust serve``: the server, as a process of its own."""

from __future__ import annotations

import os
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
    missing = [
        name
        for name in ("sqlalchemy", "grpc_health", "grpc_reflection", "grpc_channelz", "prometheus_client")
        if find_spec(name) is None
    ]
    if missing:
        raise MissingPackageError(
            f"The server needs packages that are not installed ({', '.join(missing)}). "
            'Run: pip install "fastclust[cpu,server]"'
        )


def serve(
    context: typer.Context,
    *,
    listen: Annotated[str | None, typer.Option(help="host:port or unix:/path; port 0 takes a free one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the server's data; fastclust-data by default.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Written with the address once the server answers.")] = None,
) -> None:
    """Start the server: by default SQLite and files in ./fastclust-data, on 127.0.0.1:50051. Ctrl-C stops it.

    All settings (TLS, tokens, PostgreSQL, quotas, imports, metrics): python -m fastclust_server --help. Each can be
    given here too, as a flag, as a variable FASTCLUST_... or in the file of --config.
    """
    check_installed()
    command = [sys.executable, "-m", "fastclust_server"]
    if data is None and config is None and "FASTCLUST_DATA" not in os.environ and "FASTCLUST_CONFIG" not in os.environ:
        data = Path("fastclust-data")
    for flag, value in (("--listen", listen), ("--data", data), ("--config", config), ("--ready-file", ready_file)):
        if value is not None:
            command += [flag, str(value)]
    process = subprocess.Popen([*command, *context.args])  # noqa: S603 - our own module
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: process.send_signal(received))
    raise typer.Exit(max(process.wait(), 0))
