"""A channel to a server, and patience with it: what may pass by itself is tried again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc

from fastclust.client import failures

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastclust.errors import FastclustError

__all__ = ["Connection", "Retry"]

_RECEIVE = 16 * 2**20
#: Seconds after which it is said that a server is away.
_QUIET_SECONDS = 1.0
_OPTIONS = [
    ("grpc.max_receive_message_length", _RECEIVE),
    # Chunks of 1 MiB go as few frames.
    ("grpc.http2.max_frame_size", 2**20),
    ("grpc.http2.lookahead_bytes", 4 * 2**20),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # A server that is restarted is looked for again quickly.
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
]


class Connection:
    """What calls go through.

    Parameters
    ----------
    certificates
        Root certificates, private key and certificate chain, PEM; all None: an unencrypted connection.
    connect_timeout, reconnect_timeout
        Seconds to look for a server that has not answered yet, and for one that has.
    told
        Hears once each time when a server has been away for :data:`_QUIET_SECONDS`.
    """

    def __init__(
        self,
        address: str,
        token: str | None,
        certificates: tuple[bytes | None, bytes | None, bytes | None],
        connect_timeout: float,
        reconnect_timeout: float,
        told: Callable[[str], None] | None = None,
    ) -> None:
        self.address = address
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.patience_of = {False: connect_timeout, True: reconnect_timeout}
        self.told = told
        self._answered = False
        if any(certificates):
            self.channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(*certificates), _OPTIONS)
        else:
            self.channel = grpc.insecure_channel(address, _OPTIONS)

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()

    def call(self, method: Callable[..., Any], request: Any, timeout: float | None = None) -> Any:
        """Make a unary call, again while the server cannot be reached. Requests carry ids, so none is done twice."""
        retry = self.retry()
        while True:
            try:
                response = method(request, timeout=timeout, metadata=self.metadata)
            except grpc.RpcError as error:
                retry.wait(error)
            else:
                self.worked()
                return response

    def retry(self) -> Retry:
        """Begin to try something."""
        return Retry(self)

    def worked(self) -> Retry:
        """Take note that the server answered; what is tried next begins anew."""
        self._answered = True
        return Retry(self)

    def failure(self, error: grpc.RpcError) -> FastclustError:
        """Return our error for one of gRPC's."""
        return failures.of_call(error, self.address)

    @property
    def patience(self) -> float:
        """Seconds for which an unreachable server is looked for."""
        return self.patience_of[self._answered]


class Retry:
    """Waits longer and longer between tries, up to the connection's patience."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._since = time.monotonic()
        self._pause = 0.05
        self._said = False

    def wait(self, error: grpc.RpcError) -> None:
        """Return after a pause if ``error`` may pass by itself, else raise ours."""
        waited = time.monotonic() - self._since
        if not failures.is_transient(error) or waited + self._pause > self._connection.patience:
            raise self._connection.failure(error) from None
        if waited > _QUIET_SECONDS and not self._said and self._connection.told is not None:
            self._said = True
            left = self._connection.patience - waited
            self._connection.told(f"{self._connection.address} does not answer; looked for {left:.0f} s more")
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, 2.0)
