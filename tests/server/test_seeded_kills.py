"""Twelve kills a store at seeded moments; ``make crash N=1000`` is the same for longer."""

import pytest

from tests.crash import KINDS, Crash


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_what_was_acknowledged_survives_kills_of_each_kind(store, tmp_path, request):
    database = request.getfixturevalue("new_postgres_database")() if store == "postgresql" else None
    found = Crash(tmp_path, 7, database).run(12)
    print(found)
    assert not found["problems"]
    assert set(found["kills"]) == set(KINDS)
    assert found["rounds"] >= 9  # a worker that has not started yet cannot be killed
    assert found["acknowledged"]["jobs"] > 0
    assert found["exit"] == 0
