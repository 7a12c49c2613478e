"""Resource names, ids and page tokens. An id is never used as a path before it has passed :func:`parse`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from typing import TYPE_CHECKING

from fastclust.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_text", "new_id", "page_size", "parse", "parse_artifact", "read_token", "write_token"]

_ID = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_DEFAULT_PAGE = 100
_MAX_PAGE = 1000


def new_id() -> str:
    """Make a random id of 128 bits, as 32 hex digits."""
    return secrets.token_hex(16)


def parse(name: str, collection: str, field: str = "name") -> str:
    """Take the id out of ``"{collection}/{id}"``.

    Raises
    ------
    InputError
        ``name`` has another form.
    NotFoundError
        It has the form, with an id that the server never gives.
    """
    prefix, _, given = name.partition("/")
    if prefix != collection or not given or "/" in given:
        raise InputError(field, repr(name[:100]), f'"{collection}/{{id}}"')
    if not _ID.fullmatch(given):
        raise NotFoundError(f"{name[:100]}: no such name.")
    return given


def parse_artifact(name: str) -> tuple[str, str]:
    """Take job id and key out of ``"jobs/{id}/artifacts/{key}"``."""
    head, separator, key = name.partition("/artifacts/")
    if not separator:
        raise InputError("name", repr(name[:100]), '"jobs/{id}/artifacts/{key}"')
    job = parse(head, "jobs")
    if not _KEY.fullmatch(key):
        raise NotFoundError(f"{name[:100]}: no such artifact.")
    return job, key


def check_text(field: str, text: str, longest: int) -> None:
    """Raise InputError for text that is too long or has control characters."""
    if len(text) > longest:
        raise InputError(field, f"{len(text)} characters", f"at most {longest}")
    if any(ord(character) < 32 for character in text):
        raise InputError(field, repr(text[:50]), "text without control characters")


def page_size(asked: int) -> int:
    """Return the page size to use: 0 means that the server chooses; larger pages than allowed become the largest."""
    if asked < 0:
        raise InputError("page_size", asked, f"0..{_MAX_PAGE}")
    return min(asked or _DEFAULT_PAGE, _MAX_PAGE)


def write_token(place: int, *filters: object) -> str:
    """Make a token that goes on after ``place`` of a listing with these filters."""
    return base64.urlsafe_b64encode(f"{place}.{_digest(filters)}".encode()).decode()


def read_token(token: str, *filters: object) -> int | None:
    """Read a place back; None for an empty token. Raises InputError for a token of another listing."""
    if not token:
        return None
    try:
        place, _, digest = base64.urlsafe_b64decode(token.encode()).decode().partition(".")
        if digest == _digest(filters):
            return int(place)
    except (binascii.Error, UnicodeError, ValueError):
        pass
    raise InputError("page_token", repr(token[:100]), "a token from the same listing with the same filters")


def _digest(filters: Iterable[object]) -> str:
    return hashlib.sha256(repr(tuple(filters)).encode()).hexdigest()[:16]
