"""The database: tables, schema version and transactions. What is particular to SQLite or PostgreSQL stands here."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from fastclust.errors import DataError, InputError, MissingPackageError, PreconditionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SCHEMA_VERSION", "Database", "artifacts", "counters", "datasets", "folders", "jobs", "turns", "uploads"]

SCHEMA_VERSION = 2
_BUSY_SECONDS = 30.0
_LOCK_SECONDS = 5.0
_LOCK_KEY = 0x66617374636C7573
_WRITE_KEY = _LOCK_KEY + 1

metadata = sa.MetaData()

_schema = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, nullable=False))

counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

#: SQLite numbers rows by itself only in a column of exactly this type.
_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("owner", sa.String(256), nullable=False),
    sa.Column("request_id", sa.String(128)),
    sa.Column("request_digest", sa.String(64), nullable=False),
    sa.Column("display_name", sa.String(512), nullable=False),
    sa.Column("kind", sa.Integer, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("file", sa.String(64), nullable=False),
    # Bytes of our own .npy header before the payload.
    sa.Column("head_bytes", sa.Integer, nullable=False),
    sa.Column("byte_count", sa.BigInteger, nullable=False),
    sa.Column("persisted_bytes", sa.BigInteger, nullable=False),
    sa.Column("dataset", sa.String(32)),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
    sa.UniqueConstraint("owner", "request_id"),
)

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("number", _Number, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("owner", sa.String(256), nullable=False, index=True),
    sa.Column("display_name", sa.String(512), nullable=False),
    sa.Column("kind", sa.Integer, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("file", sa.String(64), nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("byte_count", sa.BigInteger, nullable=False),
    sa.Column("crc32c", sa.BigInteger, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("number", _Number, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("owner", sa.String(256), nullable=False, index=True),
    sa.Column("request_id", sa.String(128)),
    sa.Column("spec_digest", sa.String(64), nullable=False),
    sa.Column("display_name", sa.String(512), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("spec", sa.LargeBinary, nullable=False),
    # Names of the data sets and jobs that it reads, one a line.
    sa.Column("inputs", sa.Text, nullable=False),
    sa.Column("state", sa.Integer, nullable=False),
    sa.Column("cancel_requested", sa.Float),
    sa.Column("progress", sa.LargeBinary, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False, index=True),
    sa.Column("server", sa.String(64)),
    sa.Column("worker", sa.String(64)),
    sa.Column("lease_until", sa.Float),
    sa.Column("error", sa.LargeBinary),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.Column("notes", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("started", sa.Float),
    sa.Column("ended", sa.Float),
    # Of an import: the data set that it made.
    sa.Column("dataset", sa.String(32)),
    sa.UniqueConstraint("owner", "request_id"),
    sa.Index("jobs_queue", "state", "number"),
    sa.Index("jobs_turns", "state", "owner", "number"),
    sqlite_autoincrement=True,
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("job", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(100), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("media_type", sa.String(128), nullable=False),
    sa.Column("tensor", sa.LargeBinary, nullable=False),
    sa.Column("byte_count", sa.BigInteger, nullable=False),
    sa.Column("crc32c", sa.BigInteger, nullable=False),
    sa.Column("is_file", sa.Boolean, nullable=False),
    # Place under the artifacts folder.
    sa.Column("file", sa.String(256), nullable=False),
)

#: Whose turn it is: the owner who was served longest ago is next.
turns = sa.Table(
    "turns",
    metadata,
    sa.Column("owner", sa.String(256), primary_key=True),
    sa.Column("served", sa.BigInteger, nullable=False),
)

#: The data folder that the rows speak of; one row.
folders = sa.Table("folders", metadata, sa.Column("id", sa.String(32), primary_key=True))


def _to_version_2(connection: sa.Connection) -> None:
    """Turns by owner, imports, and the folder's id; the new tables are there already."""
    connection.execute(sa.text("ALTER TABLE jobs ADD COLUMN dataset VARCHAR(32)"))
    connection.execute(sa.text("CREATE INDEX jobs_turns ON jobs (state, owner, number)"))


#: From version n to n + 1, in order; each runs in the transaction that raises the version.
_MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {1: _to_version_2}


class Database:
    """Transactions on one database. Safe for use from several threads.

    Parameters
    ----------
    url
        "sqlite:///path" or "postgresql://...".

    Raises
    ------
    MissingPackageError
        PostgreSQL's driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self._writing: Any = nullcontext()
        self._lock: sa.Connection | None = None
        if url.startswith("sqlite:"):
            self.engine = sa.create_engine(url)
            # SQLite has one writer; queueing here is fair, its own busy loop is not.
            self._writing = threading.Lock()
            _prepare_sqlite(self.engine)
        else:
            self.engine = _postgresql(url)

    def lock(self) -> None:
        """Hold the database for one server, as the lock of the data folder holds that. Raises PreconditionError.

        SQLite's file lies in the data folder. In PostgreSQL the lock goes with the connection, and so with the server.
        """
        if self.engine.dialect.name == "sqlite":
            return
        self._lock = self.engine.connect()
        until = time.monotonic() + _LOCK_SECONDS
        while not self._lock.execute(sa.select(sa.func.pg_try_advisory_lock(_LOCK_KEY))).scalar_one():
            if time.monotonic() > until:
                self._lock.close()
                raise PreconditionError("Another fastclust server uses this database. Stop it, or take another one.")
            time.sleep(0.1)
        self._lock.commit()

    def prepare(self, folder: str | None = None) -> None:
        """Make the tables, or bring old ones forward.

        Parameters
        ----------
        folder
            Id of the data folder. The rows must speak of that one: files that no row knows are swept away.

        Raises
        ------
        DataError
            A database of a later version.
        PreconditionError
            A database of another data folder.
        """
        with self.write() as connection:
            metadata.create_all(connection)
            found = connection.execute(sa.select(_schema.c.version)).scalar_one_or_none()
            if found is None:
                connection.execute(sa.insert(_schema).values(version=SCHEMA_VERSION))
                connection.execute(sa.insert(counters).values(name="jobs", value=0))
                found = SCHEMA_VERSION
            if found > SCHEMA_VERSION:
                raise DataError(
                    f"The database has schema version {found}; this server reads up to {SCHEMA_VERSION}. Upgrade it."
                )
            for version in range(found, SCHEMA_VERSION):
                _MIGRATIONS[version](connection)
            connection.execute(sa.update(_schema).values(version=SCHEMA_VERSION))
            if folder is not None:
                known = connection.execute(sa.select(folders.c.id)).scalar_one_or_none()
                if known is None:
                    connection.execute(sa.insert(folders).values(id=folder))
                elif known != folder:
                    raise PreconditionError("The database belongs to another data folder. Take that one, or a new one.")

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open a transaction that writes; it is on disk when the block has ended without an error.

        Writers go one after another, on every kind of database: what one read before it writes is still so.
        """
        with self._writing, self.engine.connect() as plain:
            connection = plain.execution_options(fastclust_writes=True)
            with connection.begin():
                if self.engine.dialect.name != "sqlite":
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITE_KEY)))
                yield connection

    def close(self) -> None:
        """Close all connections."""
        if self._lock is not None:
            self._lock.close()
        self.engine.dispose()


def _postgresql(url: str) -> sa.Engine:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise InputError("--database", repr(scheme), "postgresql://USER@HOST/NAME")
    try:
        return sa.create_engine(
            f"postgresql+psycopg://{rest}",
            pool_size=8,
            max_overflow=24,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": 10,
                # Whatever the server's default is: acknowledged means on disk.
                "options": f"-c synchronous_commit=on -c lock_timeout={int(_BUSY_SECONDS * 1000)}",
            },
        )
    except ModuleNotFoundError as error:
        raise MissingPackageError('PostgreSQL needs psycopg. Run: pip install "fastclust[postgres]"') from error


def _prepare_sqlite(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        # We begin transactions ourselves: the driver's own way begins them late, and a reader that turns writer
        # half-way fails with "database is locked" whatever the time-out.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("fastclust_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
