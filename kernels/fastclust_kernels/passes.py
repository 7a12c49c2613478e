"""On which GPUs a kernel has passed against its oracle: "auto" takes no other.

``passes.json`` is a list of ``{"operation", "backend", "architecture", "gpu", "date", "command"}``; ``bench/gpu.sh``
prints the lines to add.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

__all__ = ["any_recorded", "recorded"]


def recorded(operation: str, backend: str, architecture: str) -> bool:
    """Whether a pass is recorded on this architecture, such as "sm_90"."""
    return (operation, backend, architecture) in _all()


def any_recorded(operation: str, backend: str) -> bool:
    """Whether a pass is recorded on any GPU."""
    return any((operation, backend) == row[:2] for row in _all())


@lru_cache(maxsize=1)
def _all() -> frozenset[tuple[str, str, str]]:
    found = json.loads(Path(__file__).with_name("passes.json").read_text("utf-8"))
    return frozenset((row["operation"], row["backend"], row["architecture"]) for row in found)
