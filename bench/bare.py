"""The bare peers of the service: grpcio without anything around it. ``python -m bench.bare`` prints its port."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OPTIONS", "bare_server", "write_and_sync"]

CHUNK = 2**20
OPTIONS = [("grpc.max_receive_message_length", 2**24), ("grpc.max_send_message_length", 2**24)]


def _count(messages: Iterator[bytes], _context: Any) -> bytes:
    return str(sum(len(message) for message in messages)).encode()


def _send(request: bytes, _context: Any) -> Iterator[bytes]:
    chunk = os.urandom(CHUNK)
    for _ in range(int(request)):
        yield chunk


def _main() -> None:
    server = grpc.server(ThreadPoolExecutor(32), options=OPTIONS)
    handlers = {
        "Up": grpc.stream_unary_rpc_method_handler(_count),
        "Down": grpc.unary_stream_rpc_method_handler(_send),
        "Echo": grpc.unary_unary_rpc_method_handler(lambda request, _context: request),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()


@contextmanager
def bare_server() -> Iterator[str]:
    """Run a bare server in a process of its own; yields its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bare"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.communicate()


def write_and_sync(path: str, view: memoryview) -> int:
    """Write a buffer in pieces of 1 MiB and wait until the disk has it."""
    with open(path, "wb", buffering=0) as file:  # noqa: PTH123 - as bare as it gets
        file.writelines(view[start : start + CHUNK] for start in range(0, len(view), CHUNK))
        os.fsync(file.fileno())
    return len(view)


if __name__ == "__main__":
    _main()
