"""Blocks of code in the documents, and what a comment before each says about it.

``<!-- full -->``: too long for CI. ``<!-- full, server -->``: asks a server at localhost:50051. ``<!-- gpu -->``: needs
one. ``<!-- not run: why -->``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "fastclust" / "docs"
PAGES = sorted((DOCS / "pages").rglob("*.md"))
_BLOCK = re.compile(r"^(?:<!-- ([^\n]*) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    number: int
    language: str
    code: str
    marks: frozenset[str]
    why_not: str


def blocks_of(path):
    """Return the blocks of a page, in order."""
    found = []
    for number, (comment, language, code) in enumerate(_BLOCK.findall(path.read_text("utf-8"))):
        why_not = comment.removeprefix("not run:").strip() if comment.startswith("not run:") else ""
        marks = frozenset() if why_not else frozenset(filter(None, comment.split(", ")))
        found.append(Block(path.relative_to(DOCS / "pages").as_posix(), number, language, code, marks, why_not))
    return found
