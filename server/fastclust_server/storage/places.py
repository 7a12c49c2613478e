"""What a URI of an import may name, and opening it: nothing outside the allowed roots and hosts is ever read."""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from fastclust.errors import DataError, InputError, NotFoundError, PermissionDeniedError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastclust_server.config import Settings

__all__ = ["check_uri", "open_uri"]

_SECONDS = 30.0


def check_uri(uri: str, settings: Settings) -> None:
    """Check the form of a URI and whether it begins as allowed, without touching disk or network.

    Raises
    ------
    InputError
        No file: and no http: URI, or a chain of them.
    PermissionDeniedError
        Not below an allowed folder or URL.
    """
    if "::" in uri:
        raise InputError("uri", repr(uri[:200]), "one URI, no chain of them")
    if any(ord(character) < 33 or ord(character) == 127 for character in uri) or len(uri) > 2000:
        raise InputError("uri", repr(uri[:200]), "up to 2000 characters, no spaces or control characters")
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError as error:
        raise InputError("uri", repr(uri[:200]), "file:///path, https://host/path or http://host/path") from error
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        if not settings.import_roots:
            raise PermissionDeniedError("uri: this server imports no files: its operator gave no --import-roots.")
        return
    if parts.scheme in {"http", "https"} and parts.hostname:
        if parts.username is not None or parts.password is not None:
            raise InputError("uri", "a user name or password in it", "a URI without")
        if "/.." in unquote(parts.path):
            raise InputError("uri", repr(uri[:200]), "a path without ..")
        if not any(_below(uri, allowed) for allowed in settings.import_urls):
            allowed = ", ".join(settings.import_urls) or "none"
            raise PermissionDeniedError(f"uri: not below a URL that this server imports from ({allowed}).")
        return
    raise InputError("uri", repr(uri[:200]), "file:///path, https://host/path or http://host/path")


def _below(uri: str, allowed: str) -> bool:
    """Whether scheme, host and port are equal and the path begins with the allowed one, at a slash."""
    one, other = urlsplit(uri), urlsplit(allowed)
    if (one.scheme, one.hostname, _port(one)) != (other.scheme, other.hostname, _port(other)):
        return False
    return one.path.startswith(other.path.rstrip("/") + "/") or one.path == other.path


def _port(parts: Any) -> int:
    return parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)


def open_uri(uri: str, settings: Settings) -> tuple[BinaryIO, int | None, str]:
    """Open what a URI names; return the stream, its size if that is known, and its name.

    Raises what :func:`check_uri` raises, and NotFoundError, DataError, UnavailableError.
    """
    check_uri(uri, settings)
    parts = urlsplit(uri)
    name = unquote(parts.path).rsplit("/", 1)[-1]
    if parts.scheme == "file":
        return *_open_file(unquote(parts.path), settings.import_roots), name
    return *_open_http(parts, settings.import_private), name


def _open_file(path: str, roots: Sequence[str]) -> tuple[BinaryIO, int]:
    """Open a regular file whose real place, with all symbolic links followed, is below a root."""
    denied = PermissionDeniedError("uri: not below a folder that this server imports from.")
    if "\0" in path:
        raise denied
    real = Path(path).resolve()
    if not _inside(real, roots):
        raise denied
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file.") from error
    except OSError as error:
        raise PermissionDeniedError(f"{path}: the server may not read it ({error.strerror}).") from error
    # A folder on the way may have become a link since: what counts is what was opened.
    opened, about = Path(f"/proc/self/fd/{descriptor}").readlink(), os.fstat(descriptor)
    if not _inside(opened, roots) or not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise denied
    return os.fdopen(descriptor, "rb"), about.st_size


def _inside(path: Path, roots: Sequence[str]) -> bool:
    return any(path.is_relative_to(Path(root).resolve()) for root in roots)


def _open_http(parts: Any, private: Sequence[str]) -> tuple[BinaryIO, int | None]:
    """GET, from the very address that was checked; redirects are not followed."""
    host, port = parts.hostname, _port(parts)
    address = _checked_address(host, port, private)
    try:
        plain = socket.create_connection((address, port), _SECONDS)
        if parts.scheme == "https":
            plain = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
        connection.sock = plain
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept-Encoding": "identity", "User-Agent": "fastclust"})
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(f"{host}: cannot be read ({error}).") from error
    if response.status == 404:
        raise NotFoundError(f"{parts.geturl()}: no such file.")
    if response.status != 200:
        raise DataError(f"{parts.geturl()}: the host answered {response.status}; redirects are not followed.")
    length = response.getheader("Content-Length")
    return response, int(length) if length and length.isdecimal() else None


def _checked_address(host: str, port: int, private: Sequence[str]) -> str:
    """Resolve a host; each of its addresses must be public, unless the operator named the host."""
    try:
        found = sorted({str(item[4][0]) for item in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    except OSError as error:
        raise UnavailableError(f"{host}: no address is known for it.") from error
    if host not in private:
        for address in found:
            kind = ipaddress.ip_address(address.partition("%")[0])
            inner = getattr(kind, "ipv4_mapped", None) or kind
            if not inner.is_global or inner.is_multicast:
                raise PermissionDeniedError(
                    f"uri: {host} is {address}, which is in no public network. "
                    "The server's operator can allow the host by --import-private."
                )
    return found[0]
