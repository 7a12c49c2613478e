"""``python -m fastclust_server``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from fastclust.errors import FastclustError
from fastclust_server.config import Settings


def main() -> int:
    """Serve; return the exit status: 2 where the set-up is refused."""
    parser = argparse.ArgumentParser(prog="python -m fastclust_server", description="The fastclust gRPC server.")
    parser.add_argument("--listen", default="127.0.0.1:50051", help="HOST:PORT (0: a free port) or unix:PATH")
    parser.add_argument("--data", type=Path, required=True, help="folder for the database and all files")
    parser.add_argument("--ready-file", type=Path, help="file to write the address to, once it serves")
    parser.add_argument("--tokens", type=Path, help='file of lines "token:owner"; callers must send one')
    parser.add_argument("--tls-cert", type=Path, help="PEM certificate chain")
    parser.add_argument("--tls-key", type=Path, help="PEM private key")
    parser.add_argument(
        "--insecure-public", action="store_true", help="serve beyond this machine without TLS or without tokens"
    )
    parser.add_argument("--max-queued", type=int, default=10_000, help="jobs that may wait")
    parser.add_argument("--grace", type=float, default=10.0, help="seconds that a job gets to stop by itself")
    settings = Settings(**vars(parser.parse_args()))
    try:
        # Here, so that a refused set-up answers at once.
        settings.check()
        from fastclust_server.app import serve

        asyncio.run(serve(settings))
    except FastclustError as error:
        print(f"fastclust server: {error}", file=sys.stderr)  # noqa: T201 - for the person who starts it
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
