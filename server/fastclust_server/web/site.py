"""The HTTP server behind ``--web``: who may ask what, and what is done then."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from fastclust.errors import PreconditionError
from fastclust_server import log
from fastclust_server.jobs.records import ENDED, SUCCEEDED
from fastclust_server.storage.folder import remove_tree
from fastclust_server.web.handler import Handler
from fastclust_server.web.page import jobs_page
from fastclust_server.web.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastclust_server.auth import Authenticator
    from fastclust_server.config import Settings
    from fastclust_server.jobs.store import JobStore
    from fastclust_server.storage.folder import DataFolder
    from fastclust_server.web.sessions import Session

__all__ = ["Site"]

_LISTED = 50
#: Requests that are answered at a time; more are turned away, each of which would hold a thread.
_MOST = 32
_REPORT = "report.html"


class Site:
    """What is shown and done, always for one owner.

    Parameters
    ----------
    changed
        Called when a job was asked to stop.
    """

    def __init__(
        self,
        folder: DataFolder,
        store: JobStore,
        authenticator: Authenticator,
        settings: Settings,
        *,
        changed: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._store = store
        self._settings = settings
        self._changed = changed
        self.sessions = Sessions(authenticator if settings.tokens is not None else None)
        self.secure = settings.tls_cert is not None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Serve; return the address to open, with the key where one is asked for.

        Raises PreconditionError where the address cannot be had.
        """
        settings = self._settings
        assert settings.web is not None
        host, _, port = settings.web.rpartition(":")
        try:
            self._server = _Server((host.strip("[]"), int(port)), self)
        except OSError as error:
            raise PreconditionError(f"--web {settings.web}: cannot listen there: {error.strerror}.") from error
        if settings.tls_cert is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
            # The handshake is made by the thread that answers, so that a silent caller holds up nobody else.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, name="web")
        self._thread.start()
        address = f"{'https' if self.secure else 'http'}://{host}:{self._server.server_port}/"
        return address if self.sessions.key is None else f"{address}?key={self.sessions.key}"

    def close(self) -> None:
        """Answer nothing more."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    @property
    def port(self) -> int:
        """Where it listens; 0 before it does."""
        return 0 if self._server is None else self._server.server_port

    @property
    def loopback(self) -> bool:
        """Whether only this machine is served."""
        return self._settings.web_is_loopback

    def jobs(self, session: Session, before: int | None) -> tuple[str, bool]:
        """Return the page of the caller's jobs, and whether anything on it will change by itself."""
        found = self._store.page(session.owner, limit=_LISTED, before=before)
        with_report = {
            job.id
            for job in found
            if job.state == SUCCEEDED and any(one.key == _REPORT for one in self._store.artifacts(job.id))
        }
        text = jobs_page(
            session.owner,
            found,
            reports=with_report,
            form=session.form or "",
            before=before,
            older=found[-1].number if len(found) == _LISTED else None,
            queued=self._store.queued(),
        )
        return text, any(job.state not in ENDED for job in found)

    def report(self, session: Session, job: str) -> Path | None:
        """Return the file of a job's report; None if it has none. Raises NotFoundError, for another owner's job too."""
        record = self._store.get(session.owner, job)
        found = self._store.artifacts(job) if record.state == SUCCEEDED else []
        return next((self._folder.artifacts / one.file for one in found if one.key == _REPORT), None)

    def cancel(self, session: Session, job: str) -> None:
        """Ask a job to stop, as the API does. Raises NotFoundError, for another owner's job too."""
        record = self._store.request_cancel(session.owner, job)
        log.event("job_cancel_requested", job=record.name, by="web")
        if record.state in ENDED:
            remove_tree(self._folder.work / record.id)
        self._changed()


class _Server(ThreadingHTTPServer):
    """A thread a request, up to a number of them."""

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.site = site
        self._free = threading.BoundedSemaphore(_MOST)
        super().__init__(address, Handler)

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    @override
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        # Callers that go away, or speak something else.
        if isinstance(error, Exception) and not isinstance(error, OSError):
            log.failure("web_failed", error)
