"""``python -m fastclust_server``."""

from __future__ import annotations

import sys

from fastclust.errors import FastclustError
from fastclust_server.config import read_settings


def main() -> int:
    """Serve; return the exit status: 2 where the set-up is refused."""
    try:
        settings = read_settings()
        # Here, so that a refused set-up answers at once.
        settings.check()
        from fastclust_server.app import serve

        serve(settings)
    except FastclustError as error:
        print(f"fastclust server: {error}", file=sys.stderr)  # noqa: T201 - for the person who starts it
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
