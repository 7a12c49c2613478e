"""A bare grpcio server and caller: what the transport alone can do. ``python -m bench.bare_grpc`` serves."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Bare", "serving"]

_SERVICE = "bench.Bare"
_ROOT = Path(__file__).resolve().parent.parent
_PIECE = bytes(2**20)
_OPTIONS = [("grpc.max_receive_message_length", 2**24)]


@dataclass
class Bare:
    """Calls of the server."""

    channel: grpc.Channel

    def upload(self, pieces: Iterable[bytes]) -> bytes:
        """Send all; returns their total size as text."""
        answer: bytes = self.channel.stream_unary(f"/{_SERVICE}/Upload")(iter(pieces))
        return answer

    def download(self, megabytes: int) -> int:
        """Receive so many messages of 1 MiB; returns their total size."""
        return sum(len(piece) for piece in self.channel.unary_stream(f"/{_SERVICE}/Download")(str(megabytes).encode()))

    def echo(self, message: bytes) -> bytes:
        """Get the message back."""
        answer: bytes = self.channel.unary_unary(f"/{_SERVICE}/Echo")(message)
        return answer


@contextmanager
def serving() -> Iterator[Bare]:
    """Start the server in a process of its own."""
    command = [sys.executable, "-m", "bench.bare_grpc"]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS) as channel:
                yield Bare(channel)
        finally:
            # It ends when its input does, so that none is left behind.
            process.communicate()


def _upload(pieces: Iterable[bytes], _context: Any) -> bytes:
    return str(sum(len(piece) for piece in pieces)).encode()


def _download(megabytes: bytes, _context: Any) -> Iterator[bytes]:
    for _ in range(int(megabytes)):
        yield _PIECE


def _echo(message: bytes, _context: Any) -> bytes:
    return message


def _serve() -> None:
    server = grpc.server(ThreadPoolExecutor(8), options=_OPTIONS)
    handlers = {
        "Upload": grpc.stream_unary_rpc_method_handler(_upload),
        "Download": grpc.unary_stream_rpc_method_handler(_download),
        "Echo": grpc.unary_unary_rpc_method_handler(_echo),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    _serve()
