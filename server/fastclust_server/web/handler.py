"""One HTTP request to the page."""

from __future__ import annotations

import hmac
import shutil
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from fastclust.errors import FastclustError, NotFoundError, UnauthenticatedError
from fastclust_server import names
from fastclust_server.web.page import POLICY, sign_in_page

if TYPE_CHECKING:
    from pathlib import Path

    from fastclust_server.web.sessions import Session
    from fastclust_server.web.site import Site

__all__ = ["Handler"]

_MOST_BYTES = 4096
_REFRESH_SECONDS = 2
_LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}
#: A report runs its own script, but as a page of nobody's: it can neither read nor ask anything here.
_REPORT_POLICY = "sandbox allow-scripts allow-downloads; frame-ancestors 'none'"


class Handler(BaseHTTPRequestHandler):
    """Answers, or says why not. Nothing of a body is read before it is known that it is short."""

    timeout = 10
    server_version, sys_version = "fastclust", ""

    def do_GET(self) -> None:
        """Show jobs or a report, or ask who is there."""
        if not self._at_home():
            return
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if parts.path == "/" and "key" in query and self._site.sessions.key is not None:
            self._sign_in(query["key"][0])
            return
        session = self._session()
        if session is None:
            self._ask()
        elif parts.path == "/":
            before = query.get("before", [""])[0]
            number = int(before) if before.isdecimal() and len(before) < 16 else None
            text, moving = self._site.jobs(session, number)
            self._show(HTTPStatus.OK, text, refresh=moving and number is None)
        elif parts.path.startswith("/reports/"):
            self._report(session, parts.path.removeprefix("/reports/"))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "No such page.")

    def do_POST(self) -> None:
        """Sign in or out, or cancel a job."""
        if not self._at_home():
            return
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > _MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The form is too large.")
            return
        given = {name: values[0] for name, values in parse_qs(self.rfile.read(int(size)).decode("latin-1")).items()}
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != self.headers.get("Host"):
            self._refuse(HTTPStatus.FORBIDDEN, "This form is not from this page.")
            return
        path = urlsplit(self.path).path
        if path == "/sign-in":
            self._sign_in(given.get("token", ""))
            return
        session = self._session()
        if session is None:
            self._ask()
        elif session.form is not None and not hmac.compare_digest(
            session.form.encode(), given.get("form", "").encode()
        ):
            self._refuse(HTTPStatus.FORBIDDEN, "This form is not from this page, or from another session.")
        elif path == "/sign-out":
            self._go(cookie="", age=0)
        elif path == "/cancel":
            self._cancel(session, given.get("job", ""))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "No such page.")

    # ------------------------------------------------------------------------------------------------------------------

    @property
    def _site(self) -> Site:
        return cast("Site", self.server.site)  # type: ignore[attr-defined]

    @property
    def _cookie(self) -> str:
        # Browsers send a host's cookies to all its ports.
        return f"fastclust-{self._site.port}"

    def _at_home(self) -> bool:
        """Refuse what was sent to another name: a site whose name was made to point here would read the page."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if self._site.loopback and host not in _LOOPBACK:
            self._refuse(HTTPStatus.FORBIDDEN, "Ask for this machine by 127.0.0.1 or localhost.")
            return False
        return True

    def _session(self) -> Session | None:
        header = self.headers.get("Authorization")
        if header is not None:
            return self._site.sessions.by_header(header)
        try:
            morsel = SimpleCookie(self.headers.get("Cookie", "")).get(self._cookie)
        except CookieError:
            return None
        return None if morsel is None else self._site.sessions.by_cookie(morsel.value)

    def _ask(self, message: str = "") -> None:
        text = sign_in_page(message, key=self._site.sessions.key is not None)
        self._show(HTTPStatus.UNAUTHORIZED, text, more={"WWW-Authenticate": 'Bearer realm="fastclust"'})

    def _sign_in(self, token: str) -> None:
        try:
            cookie = self._site.sessions.sign_in(token)
        except UnauthenticatedError as error:
            self._ask(str(error))
            return
        self._go(cookie=cookie, age=12 * 3600)

    def _cancel(self, session: Session, job: str) -> None:
        try:
            self._site.cancel(session, names.parse(f"jobs/{job}", "jobs"))
        except NotFoundError:
            self._refuse(HTTPStatus.NOT_FOUND, "No such job.")
        except FastclustError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        else:
            self._go()

    def _report(self, session: Session, job: str) -> None:
        try:
            path: Path | None = self._site.report(session, names.parse(f"jobs/{job}", "jobs"))
            file = None if path is None else path.open("rb")
        except (FastclustError, FileNotFoundError):
            file = None
        if file is None:
            self._refuse(HTTPStatus.NOT_FOUND, "No such report.")
            return
        with file:
            size = file.seek(0, 2)
            file.seek(0)
            self._head(HTTPStatus.OK, size, _REPORT_POLICY, {})
            shutil.copyfileobj(file, self.wfile, 2**20)

    def _go(self, *, cookie: str | None = None, age: int = 0) -> None:
        """Send back to the jobs, with the cookie where there is a new one."""
        more = {"Location": "/"}
        if cookie is not None:
            secure = "; Secure" if self._site.secure else ""
            more["Set-Cookie"] = f"{self._cookie}={cookie}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"
        self._head(HTTPStatus.SEE_OTHER, 0, POLICY, more)

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._show(status, f"<!doctype html><title>{status.value}</title><p>{message}</p>\n")

    def _show(
        self, status: HTTPStatus, text: str, *, refresh: bool = False, more: dict[str, str] | None = None
    ) -> None:
        body = text.encode("utf-8", "xmlcharrefreplace")
        given = dict(more or {})
        if refresh:
            given["Refresh"] = str(_REFRESH_SECONDS)
        self._head(status, len(body), POLICY, given)
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, size: int, policy: str, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(size),
            "Content-Security-Policy": policy,
            "Cache-Control": "no-store",
            # With "no-referrer" browsers send forms from "null", and ours could not be told from another site's.
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            **more,
        }.items():
            self.send_header(name, value)
        self.end_headers()

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of what was asked for: an address may hold the key."""
