"""Who calls. Every row has an owner, and every query is within one."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from fastclust.errors import DataError, NotFoundError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import grpc

__all__ = ["LOCAL", "Authenticator"]

#: The owner where nobody is asked who he is.
LOCAL = "local"
_NAMES = ("x509_common_name", "x509_subject_alternative_name", "x509_subject")


class Authenticator:
    """Finds the owner for the metadata of a call, or for its certificate.

    Parameters
    ----------
    tokens
        Token to owner; None: no token is asked for.
    certificates
        Whether callers show a certificate. TLS has checked it before a call begins; its name is the owner where no
        token says otherwise.
    """

    def __init__(self, tokens: Mapping[str, str] | None = None, *, certificates: bool = False) -> None:
        # Digests have one length, so that comparing them tells nothing about a token, its length included.
        self._owners = None if tokens is None else [(_digest(token), owner) for token, owner in tokens.items()]
        self._certificates = certificates

    @classmethod
    def from_file(cls, path: Path, *, certificates: bool = False) -> Authenticator:
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
            if not separator or not token or not owner or len(owner) > 256:
                raise DataError(f"{path}: line {number} is not token:owner.")
            tokens[token] = owner
        if not tokens:
            raise DataError(f"{path}: holds no line token:owner.")
        return cls(tokens, certificates=certificates)

    def owner(self, metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
        """Return the caller; None where only his certificate can say, see :meth:`subject`.

        Raises UnauthenticatedError.
        """
        if self._owners is None:
            return None if self._certificates else LOCAL
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

    @staticmethod
    def subject(context: grpc.ServicerContext) -> str:
        """Return the name in the certificate that the caller showed. Raises UnauthenticatedError."""
        shown = context.auth_context()
        for kind in _NAMES:
            for value in shown.get(kind, ()):
                name = bytes(value).decode("utf-8", "replace").strip()
                if 0 < len(name) <= 256:
                    return name
        raise UnauthenticatedError("The certificate names nobody. It needs a common name of up to 256 bytes.")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
