"""A PostgreSQL server of the tests' own: Debian's package, on a free port, by a user without rights."""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest


def _bin():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = found[-1] if found else shutil.which("initdb")
    if program is None:
        pytest.skip("postgresql is not installed: no server can be started")
    return pathlib.Path(program).parent


def _user():
    """Root may not run PostgreSQL."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return {"user": found.pw_uid, "group": found.pw_gid}
    raise AssertionError("no user without rights")


@pytest.fixture(scope="session")
def new_postgres_database():
    """A function that makes a new database and returns its URL."""
    with running() as new_database:
        yield new_database


@contextlib.contextmanager
def running():
    """Runs a server; yields a function that makes a new database and returns its URL."""
    programs, user = _bin(), _user()
    folder = tempfile.mkdtemp(prefix="fastclust-pg-")
    if user:
        os.chown(folder, user["user"], user["group"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/", **user}
    command = [
        f"{programs}/initdb",
        "-D",
        f"{folder}/data",
        "-U",
        "fastclust",
        "--auth=trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    subprocess.run([*command, "--locale=C"], check=True, **quiet)
    options = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    options += ["-c", "shared_buffers=16MB", "-c", "max_connections=100", "-c", "fsync=off"]
    process = subprocess.Popen([f"{programs}/postgres", "-D", f"{folder}/data", *options], **quiet)
    try:
        yield _maker(port, process)
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _maker(port, process):
    import psycopg

    made = iter(range(10**6))

    def new_database():
        name = f"t{next(made)}"
        until = time.monotonic() + 30
        while True:
            try:
                with psycopg.connect(
                    f"postgresql://fastclust@127.0.0.1:{port}/postgres", autocommit=True, connect_timeout=5
                ) as connection:
                    connection.execute(f"CREATE DATABASE {name}")
                break
            except psycopg.OperationalError:
                assert process.poll() is None, "PostgreSQL ended"
                assert time.monotonic() < until, "PostgreSQL does not answer"
                time.sleep(0.05)
        return f"postgresql://fastclust@127.0.0.1:{port}/{name}"

    return new_database
