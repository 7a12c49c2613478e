import contextlib
import pathlib

import pytest
import sqlalchemy as sa

from fastclust.errors import DataError, InputError, PreconditionError
from fastclust_server import database
from fastclust_server.database import Database
from fastclust_server.jobs.records import QUEUED, RUNNING, SUCCEEDED
from fastclust_server.jobs.store import JobStore
from fastclust_server.storage.catalog import Catalog

#: The beginning of its file's name, for each store.
OLD = pathlib.Path(__file__).parent / "schema-1"


@pytest.fixture(params=["sqlite", "postgresql"])
def make_url(request, tmp_path):
    if request.param == "sqlite":
        return lambda name: f"sqlite:///{tmp_path / name}.db"
    make = request.getfixturevalue("new_postgres_database")
    return lambda _name: make()


@pytest.fixture
def url(make_url):
    return make_url("jobs")


@pytest.fixture
def new_url(make_url):
    return make_url("new")


def leave(url):
    """What version 1 left, with rows in it."""
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with contextlib.closing(engine.raw_connection()) as old:
        if engine.dialect.name == "sqlite":
            old.driver_connection.executescript(OLD.with_suffix(".sql").read_text())
        else:
            old.driver_connection.execute(OLD.with_name(f"{OLD.name}-postgresql.sql").read_text())
            old.commit()
    engine.dispose()
    return url


def test_a_database_that_version_1_left_comes_forward_with_all_it_holds(url):
    opened = Database(leave(url))
    opened.prepare()
    store = JobStore(opened)
    done, queued, running = store.page("ann")[1], store.page("ann")[0], store.page("bob")[0]
    assert (done.state, done.metrics, done.notes, done.dataset) == (
        SUCCEEDED,
        {"inertia": 1.5},
        {"backend": "numba"},
        None,
    )
    assert [one.key for one in store.artifacts(done.id)] == ["labels"]
    assert Catalog(opened).get_dataset("ann", "a" * 32).row_count == 4
    assert Catalog(opened).get_upload("bob", "b" * 32).persisted_bytes == 16
    assert {queued.state, running.state} == {QUEUED, RUNNING}
    store.recover("new server")
    assert {store.claim("w", "s", 30).owner for _ in range(2)} == {"ann", "bob"}
    opened.prepare()  # and is of this version now
    with opened.read() as connection:
        version = connection.execute(sa.text("SELECT version FROM schema_version")).scalar_one()
    assert version == database.SCHEMA_VERSION
    opened.close()


def test_what_comes_forward_has_the_tables_and_indexes_of_what_is_new(url, new_url):
    shapes = []
    for one in (leave(url), new_url):
        opened = Database(one)
        opened.prepare()
        found = sa.inspect(opened.engine)
        shapes.append(
            {
                table: (
                    {column["name"]: (str(column["type"]), column["nullable"]) for column in found.get_columns(table)},
                    sorted((index["name"], tuple(index["column_names"])) for index in found.get_indexes(table)),
                )
                for table in found.get_table_names()
            }
        )
        opened.close()
    assert shapes[0] == shapes[1]
    assert "jobs_turns" in str(shapes[0]["jobs"])


def test_a_migration_that_fails_leaves_the_old_version_as_it_was(url, monkeypatch):
    def fail(connection):
        database._to_version_2(connection)
        raise RuntimeError("power is gone")

    opened = Database(leave(url))
    monkeypatch.setitem(database._MIGRATIONS, 1, fail)
    with pytest.raises(RuntimeError, match="power"):
        opened.prepare()
    found = sa.inspect(opened.engine)
    assert "turns" not in found.get_table_names()
    assert "dataset" not in {column["name"] for column in found.get_columns("jobs")}
    monkeypatch.undo()
    opened.prepare()
    assert len(JobStore(opened).page("ann")) == 2
    opened.close()


def test_a_database_of_another_data_folder_is_refused(url):
    opened = Database(url)
    opened.prepare("a" * 32)
    opened.prepare("a" * 32)
    with pytest.raises(PreconditionError, match="another data folder"):
        opened.prepare("b" * 32)
    opened.close()


def test_a_postgresql_database_is_one_servers(new_postgres_database, monkeypatch):
    monkeypatch.setattr(database, "_LOCK_SECONDS", 0.2)
    url = new_postgres_database()
    first, second = Database(url), Database(url)
    first.lock()
    with pytest.raises(PreconditionError, match="Another fastclust server"):
        second.lock()
    first.close()
    second.lock()
    second.close()


def test_other_databases_are_refused():
    with pytest.raises(InputError, match="postgresql://"):
        Database("mysql://x/y")


def test_a_database_is_prepared_once_and_opened_again(url):
    for _ in range(2):
        opened = Database(url)
        opened.prepare()
        with opened.read() as connection:
            found = connection.execute(sa.text("SELECT version FROM schema_version")).all()
        opened.close()
        assert found == [(database.SCHEMA_VERSION,)]


def test_a_database_of_a_later_version_is_refused(url, monkeypatch):
    opened = Database(url)
    monkeypatch.setattr(database, "SCHEMA_VERSION", 9)
    opened.prepare()
    monkeypatch.undo()
    with pytest.raises(DataError, match="schema version 9"):
        opened.prepare()
    opened.close()


def test_sqlite_runs_with_a_write_ahead_log_and_full_sync(tmp_path):
    opened = Database(f"sqlite:///{tmp_path / 'jobs.db'}")
    with opened.read() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar_one() == 2
    opened.close()


def test_a_transaction_that_raises_leaves_nothing(url):
    opened = Database(url)
    opened.prepare()

    def half_done():
        with opened.write() as connection:
            connection.execute(sa.update(database.counters).values(value=5))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_done()
    with opened.read() as connection:
        assert connection.execute(sa.select(database.counters.c.value)).scalar_one() == 0
    opened.close()
