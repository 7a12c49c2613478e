"""How a server is set up, and which set-ups are refused."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastclust.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says. ``check`` refuses what is not safe."""

    data: Path
    #: "HOST:PORT" (port 0: a free one) or "unix:PATH".
    listen: str = "127.0.0.1:50051"
    #: Where to write the address once the server serves.
    ready_file: Path | None = None
    #: Lines "token:owner". None: everybody who can connect is the owner "local".
    tokens: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    #: Serve beyond this machine without TLS or without tokens.
    insecure_public: bool = False
    #: Jobs that may wait.
    max_queued: int = 10_000
    #: Seconds that a running job gets to stop by itself, when it is cancelled and when the server shuts down.
    grace: float = 10.0

    def check(self) -> None:
        """Raise InputError for an address that cannot be parsed, or that is public without TLS and tokens."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("--tls-cert", "one of certificate and key", "both --tls-cert and --tls-key, or neither")
        host = self.host
        if host is None or self.insecure_public or _is_loopback(host):
            return
        missing = [
            flag
            for flag, value in (("--tls-cert and --tls-key", self.tls_cert), ("--tokens", self.tokens))
            if value is None
        ]
        if missing:
            raise InputError(
                "--listen",
                self.listen,
                "a loopback address (127.0.0.1:PORT, [::1]:PORT, unix:PATH)",
                f"To serve other machines, give {' and '.join(missing)}; "
                "in a network where everybody may read and delete everything, --insecure-public.",
            )

    @property
    def host(self) -> str | None:
        """The host part; None for a socket file."""
        if self.listen.startswith("unix:"):
            return None
        host, separator, port = self.listen.rpartition(":")
        if not separator or not host or not port.isdecimal() or int(port) > 65535:
            raise InputError("--listen", repr(self.listen), "HOST:PORT or unix:PATH")
        return host.removeprefix("[").removesuffix("]")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may resolve to anything
