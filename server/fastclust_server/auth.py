"""Who calls. Every row has an owner, and every query is within one."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from fastclust.errors import DataError, NotFoundError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["LOCAL", "Authenticator"]

#: The owner where no tokens are asked for.
LOCAL = "local"


class Authenticator:
    """Finds the owner for the metadata of a call.

    Parameters
    ----------
    tokens
        Token to owner; None: no token is asked for, and everybody is :data:`LOCAL`.
    """

    def __init__(self, tokens: Mapping[str, str] | None = None) -> None:
        # Digests have one length, so that comparing them tells nothing about a token, its length included.
        self._owners = None if tokens is None else [(_digest(token), owner) for token, owner in tokens.items()]

    @classmethod
    def from_file(cls, path: Path) -> Authenticator:
        """Read lines "token:owner"; empty lines and lines that begin with # are skipped."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as error:
            raise NotFoundError(f"{path}: no such file.") from error
        tokens = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            token, separator, owner = line.strip().partition(":")
            if not separator or not token or not owner:
                raise DataError(f"{path}: line {number} is not token:owner.")
            tokens[token] = owner
        if not tokens:
            raise DataError(f"{path}: holds no line token:owner.")
        return cls(tokens)

    def owner(self, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """Return the caller. Raises UnauthenticatedError."""
        if self._owners is None:
            return LOCAL
        header = next((value for key, value in metadata if key == "authorization"), None)
        if header is None:
            raise UnauthenticatedError("No token came. Send the metadata authorization: Bearer TOKEN.")
        text = header.decode("latin-1") if isinstance(header, bytes) else header
        scheme, _, token = text.partition(" ")
        given, found = _digest(token), None
        for digest, owner in self._owners:
            # No early end: the time must not tell which token was nearly right.
            if hmac.compare_digest(given, digest):
                found = owner
        if found is None or scheme.lower() != "bearer":
            raise UnauthenticatedError("The token is not known to this server.")
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
