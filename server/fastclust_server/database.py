"""The database: tables, schema version and transactions. All that is particular to SQLite stands here."""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from fastclust.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SCHEMA_VERSION", "Database", "artifacts", "counters", "datasets", "jobs", "uploads"]

SCHEMA_VERSION = 1
_BUSY_SECONDS = 30.0

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
    sa.UniqueConstraint("owner", "request_id"),
    sa.Index("jobs_queue", "state", "number"),
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

#: From version n to n + 1, in order; each runs in the transaction that raises the version.
_MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {}


class Database:
    """Transactions on one database. Safe for use from several threads."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url)
        self._writing: Any = nullcontext()
        if self.engine.dialect.name == "sqlite":
            # SQLite has one writer; queueing here is fair, its own busy loop is not.
            self._writing = threading.Lock()
            _prepare_sqlite(self.engine)

    def prepare(self) -> None:
        """Make the tables, or bring old ones forward. Raises DataError for a database of a later version."""
        with self.write() as connection:
            metadata.create_all(connection)
            found = connection.execute(sa.select(_schema.c.version)).scalar_one_or_none()
            if found is None:
                connection.execute(sa.insert(_schema).values(version=SCHEMA_VERSION))
                connection.execute(sa.insert(counters).values(name="jobs", value=0))
                return
            if found > SCHEMA_VERSION:
                raise DataError(
                    f"The database has schema version {found}; this server reads up to {SCHEMA_VERSION}. Upgrade it."
                )
            for version in range(found, SCHEMA_VERSION):
                _MIGRATIONS[version](connection)
            connection.execute(sa.update(_schema).values(version=SCHEMA_VERSION))

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open a transaction that writes; it is on disk when the block has ended without an error."""
        with self._writing, self.engine.connect() as plain:
            connection = plain.execution_options(fastclust_writes=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


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
