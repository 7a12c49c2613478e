import pytest
import sqlalchemy as sa

from fastclust.errors import DataError
from fastclust_server import database
from fastclust_server.database import Database


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'jobs.db'}"


def test_a_database_is_prepared_once_and_opened_again(url):
    for _ in range(2):
        opened = Database(url)
        opened.prepare()
        opened.close()


def test_a_database_of_a_later_version_is_refused(url, monkeypatch):
    opened = Database(url)
    monkeypatch.setattr(database, "SCHEMA_VERSION", 9)
    opened.prepare()
    monkeypatch.undo()
    with pytest.raises(DataError, match="schema version 9"):
        opened.prepare()
    opened.close()


def test_sqlite_runs_with_a_write_ahead_log_and_full_sync(url):
    opened = Database(url)
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
