"""Who looks at the page: signed in with the API's token, or with the key of this start where there are no tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

from fastclust.errors import UnauthenticatedError
from fastclust_server.auth import LOCAL

if TYPE_CHECKING:
    from fastclust_server.auth import Authenticator

__all__ = ["Session", "Sessions"]

_SECONDS = 12 * 3600


class Session(NamedTuple):
    """One that was signed in."""

    owner: str
    #: What its forms must bring along, which another site's cannot know; None for a program that sends its token.
    form: str | None


class Sessions:
    """Cookies that this start of the server signed; another start knows none of them.

    Parameters
    ----------
    authenticator
        The API's, where it has tokens; None where it has none, and everybody is the same owner. Whoever looks then
        brings ``key``, which other users of the machine, and sites in the browser, do not know.
    """

    def __init__(self, authenticator: Authenticator | None) -> None:
        self._authenticator = authenticator
        self._secret = secrets.token_bytes(32)
        self.key = None if authenticator is not None else secrets.token_urlsafe(32)

    def sign_in(self, token: str) -> str:
        """Return the cookie of the owner of ``token``. Raises UnauthenticatedError."""
        owner = self._owner(token)
        body = f"{base64.urlsafe_b64encode(owner.encode()).decode()}.{int(time.time()) + _SECONDS}"
        return f"{body}.{self._sign('session', body)}"

    def by_cookie(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None if it is not ours, or too old."""
        body, _, signature = cookie.rpartition(".")
        # As bytes: text that is not ASCII cannot be compared in constant time.
        if not hmac.compare_digest(signature.encode(), self._sign("session", body).encode()):
            return None
        name, _, until = body.partition(".")
        if int(until) < time.time():
            return None
        return Session(base64.urlsafe_b64decode(name).decode(), self._sign("form", cookie))

    def by_header(self, authorization: str) -> Session | None:
        """Return the session of a program that sends ``Authorization: Bearer TOKEN``; None if nobody has that token."""
        scheme, _, token = authorization.partition(" ")
        try:
            return Session(self._owner(token), None) if scheme.lower() == "bearer" else None
        except UnauthenticatedError:
            return None

    def _owner(self, token: str) -> str:
        if self.key is None:
            assert self._authenticator is not None
            owner = self._authenticator.owner([("authorization", f"Bearer {token}")])
            assert owner is not None  # it has tokens
            return owner
        if not hmac.compare_digest(_digest(token), _digest(self.key)):
            raise UnauthenticatedError("The key is not that of this start of the server.")
        return LOCAL

    def _sign(self, what: str, body: str) -> str:
        return hmac.new(self._secret, f"{what}:{body}".encode(errors="replace"), hashlib.sha256).hexdigest()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
