"""Job stores of each kind; a new one is one more parameter here, and is then run by each suite."""

import pytest
import sqlalchemy as sa

from fastclust_server.database import Database, artifacts, datasets, jobs, turns, uploads
from fastclust_server.jobs.store import JobStore


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request, tmp_path_factory):
    """One database of each kind, emptied before each test."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path_factory.mktemp('store') / 'jobs.db'}")
    else:
        database = Database(request.getfixturevalue("new_postgres_database")())
    database.prepare()
    yield database
    database.close()


@pytest.fixture
def database(shared):
    with shared.write() as connection:
        for table in (jobs, artifacts, datasets, uploads, turns):
            connection.execute(sa.delete(table))
    return shared


@pytest.fixture
def store(database):
    return JobStore(database, max_queued=50)
