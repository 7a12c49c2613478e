"""How a server is set up: flags over variables over a TOML file over defaults. Unsafe set-ups are refused."""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from typing_extensions import override

from fastclust.errors import DataError, InputError, NotFoundError
from fastclust_server.jobs.engine import check_engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Settings", "read_settings"]

_PREFIX = "FASTCLUST_"


#: What each setting is: the flag, the variable and the key in the file have its name.
_ABOUT = {
    "data": "folder for the database and all files",
    "listen": "HOST:PORT (0: a free port) or unix:PATH",
    "ready_file": "file to write the address to, once it serves",
    "database": "postgresql://... for jobs and records; SQLite in the data folder if not set",
    "tokens": 'file of lines "token:owner"; callers must send one',
    "tls_cert": "PEM certificate chain",
    "tls_key": "PEM private key",
    "client_ca": "PEM certificates that must have signed each caller's, whose name is the owner",
    "insecure_public": "serve beyond this machine without TLS or without tokens",
    "grace": "time that a job gets to stop by itself, at a cancellation or a shutdown (seconds)",
    "stall": "time that a stream may stand still (seconds)",
    "workers": "jobs that run at once, each in a process; 0: one a GPU, or one where there is none",
    "engine": "where kmeans, train, embed (of rows) and exact neighbors jobs compute: local, or ray: on a cluster",
    "ray_address": "HOST:PORT of the Ray cluster, whose nodes see the data folder by its name; one here if not set",
    "ray_workers": "workers of a job on the Ray cluster; 0: one a node",
    "max_queued": "jobs that may wait, of all owners",
    "owner_jobs": "jobs of one owner that may wait or run",
    "owner_bytes": "size of uploads, data sets and results that one owner may keep (bytes)",
    "dataset_rows": "rows of one data set",
    "image_pixels": "pixels that the images of one data set may have when decoded",
    "job_seconds": "time that a job may run; 0: as long as it takes (seconds)",
    "job_memory": "memory that a job may take; 0: as much as there is (bytes)",
    "cold": "let kernels be compiled by the first job that needs them, and not by an idle worker",
    "keep_jobs": "time to keep an ended job and its results; 0: until deleted (days)",
    "keep_uploads": "time to keep an upload that nobody goes on with (hours)",
    "import_roots": "folders that ImportDataset may read",
    "import_urls": "beginnings of URLs that ImportDataset may read, https://host/path/",
    "import_private": "hosts in private networks that may be imported from",
    "encoders": "encoders from elsewhere (timm:..., hf:...) that jobs may name",
    "online_memory": "size of models that the online process keeps (bytes)",
    "online_delay": "time that a call may wait for others to be batched with (milliseconds)",
    "online_bytes": "size of online calls that may wait (bytes)",
    "metrics": "HOST:PORT for Prometheus; not served if not set",
    "web": "HOST:PORT for a page of jobs, for those with a token; not served if not set",
    "telemetry": "send spans by OpenTelemetry, as its OTEL_ variables say",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server is told; ``_ABOUT`` says what each is. ``check`` refuses what is not safe."""

    data: Path
    listen: str = "127.0.0.1:50051"
    ready_file: Path | None = None
    database: str | None = None
    tokens: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    insecure_public: bool = False
    grace: float = 5.0
    stall: float = 60.0
    workers: int = 0
    engine: str = "local"
    ray_address: str | None = None
    ray_workers: int = 0
    max_queued: int = 10_000
    owner_jobs: int = 1_000
    owner_bytes: int = 2**40
    dataset_rows: int = 2**40
    image_pixels: int = 10**11
    job_seconds: float = 0.0
    job_memory: int = 0
    cold: bool = False
    keep_jobs: float = 0.0
    keep_uploads: float = 24.0
    import_roots: tuple[str, ...] = ()
    import_urls: tuple[str, ...] = ()
    import_private: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ()
    online_memory: int = 2**30
    online_delay: float = 0.0
    online_bytes: int = 64 * 2**20
    metrics: str | None = None
    web: str | None = None
    telemetry: bool = False

    def check(self) -> None:
        """Raise InputError for an address that cannot be parsed, or that is public without TLS and callers' names."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("--tls-cert", "one of certificate and key", "both --tls-cert and --tls-key, or neither")
        if self.client_ca is not None and self.tls_cert is None:
            raise InputError("--client-ca", "no certificate of the server", "--tls-cert and --tls-key with it")
        for name, value in (("--grace", self.grace), ("--stall", self.stall)):
            if not value > 0:
                raise InputError(name, value, "more than 0 seconds")
        if self.workers < 0:
            raise InputError("--workers", self.workers, "0 or more")
        if self.metrics is not None and not _is_loopback(_host(self.metrics, "--metrics")) and not self.insecure_public:
            raise InputError("--metrics", self.metrics, "a loopback address: metrics ask for no token")
        self._check_web()
        check_engine(self)
        host = self.host
        if host is None or self.insecure_public or _is_loopback(host):
            return
        missing = [
            flag
            for flag, value in (
                ("--tls-cert and --tls-key", self.tls_cert),
                ("--tokens or --client-ca", self.tokens or self.client_ca),
            )
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

    def _check_web(self) -> None:
        if self.web is None:
            return
        if self.client_ca is not None and self.tokens is None:
            raise InputError("--web", "certificates alone", "--tokens with it: the page is signed in to with a token")
        if not self.web_is_loopback and not self.insecure_public and (self.tls_cert is None or self.tokens is None):
            raise InputError(
                "--web", self.web, "a loopback address, or --tls-cert, --tls-key and --tokens to serve other machines"
            )

    @property
    def web_is_loopback(self) -> bool:
        """Whether the page, where there is one, is for this machine only."""
        return self.web is not None and _is_loopback(_host(self.web, "--web"))

    def for_worker(self) -> dict[str, Any]:
        """What workers need to know, as JSON can say it."""
        names = (
            "engine",
            "ray_address",
            "ray_workers",
            "job_seconds",
            "job_memory",
            "dataset_rows",
            "image_pixels",
            "owner_bytes",
            "cold",
        )
        lists = ("import_roots", "import_urls", "import_private", "encoders")
        return {name: getattr(self, name) for name in names} | {name: list(getattr(self, name)) for name in lists}

    @property
    def host(self) -> str | None:
        """The host part; None for a socket file."""
        return None if self.listen.startswith("unix:") else _host(self.listen, "--listen")


def _host(address: str, flag: str) -> str:
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(flag, repr(address), "HOST:PORT or unix:PATH")
    return host.removeprefix("[").removesuffix("]")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may resolve to anything


class _Parser(argparse.ArgumentParser):
    """Ends after a mistake with what is wrong, not with all thirty flags."""

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}. See: python -m fastclust_server --help\n")


def read_settings(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read flags, ``FASTCLUST_*`` variables and the file of ``--config``.

    Raises
    ------
    InputError
        A variable or key that is not known, or a value of another type.
    NotFoundError, DataError
        A file that is missing or no TOML.
    """
    parser = _Parser(prog="fastclust serve", description="The fastclust gRPC server.", epilog=_EPILOG)
    parser.add_argument("--config", type=Path, help="TOML file with any of these, such as listen = '127.0.0.1:7000'")
    fields = {item.name: item for item in dataclasses.fields(Settings)}
    for name, item in fields.items():
        flag, default = f"--{name.replace('_', '-')}", item.default
        shown = "" if default in (None, False, ()) or name == "data" else f" [{default}]"
        about: dict[str, Any] = {"help": f"{_ABOUT[name]}{shown}", "default": argparse.SUPPRESS}
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true", **about)
        elif isinstance(default, tuple):
            parser.add_argument(flag, nargs="+", metavar="TEXT", **about)
        else:
            parser.add_argument(flag, metavar=name.split("_")[-1].upper(), **about)
    given = vars(parser.parse_args(arguments))
    file = given.pop("config", None) or (
        Path(environment[_PREFIX + "CONFIG"]) if _PREFIX + "CONFIG" in environment else None
    )
    values: dict[str, Any] = {} if file is None else _from_file(file, fields)
    for name in fields:
        if (variable := _PREFIX + name.upper()) in environment:
            values[name] = environment[variable]
    values |= given
    if "data" not in values:
        raise InputError("--data", "nothing", f"a folder, as --data, {_PREFIX}DATA or data in the file")
    return Settings(**{name: _typed(fields[name], value) for name, value in values.items()})


_EPILOG = f"""Each can also be a variable, such as {_PREFIX}LISTEN, or a key of the file: flags win, then variables."""


def _from_file(path: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
    found = {name.replace("-", "_"): value for name, value in found.items()}
    unknown = sorted(set(found) - set(fields))
    if unknown:
        raise InputError(f"{path}: {unknown[0]}", "an unknown setting", ", ".join(fields))
    return found


def _typed(item: Any, value: Any) -> Any:
    """Bring a text or a TOML value to the type of a setting."""
    flag, kind = f"--{item.name.replace('_', '-')}", item.type
    if kind.startswith("tuple"):
        return tuple(value.split(",")) if isinstance(value, str) else tuple(str(one) for one in value)
    if kind.startswith("bool"):
        if isinstance(value, bool):
            return value
        if str(value).lower() in {"1", "true", "yes", "0", "false", "no", ""}:
            return str(value).lower() in {"1", "true", "yes"}
        raise InputError(flag, repr(value), "true or false")
    if kind.startswith("Path"):
        return Path(value)
    if kind.startswith("str"):
        return str(value)
    try:
        return int(value) if kind.startswith("int") else float(value)
    except (TypeError, ValueError) as error:
        raise InputError(flag, repr(value), "a number") from error
