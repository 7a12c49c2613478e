"""Common options stand on either side of the verb."""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from fastclust.cli.main import app
from fastclust.cli.options import _behind_the_verb


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["--json", "run", "x", "-o", "y"], ["run", "--json", "x", "-o", "y"]),
        (["--server", "h:1", "--json", "jobs", "ls"], ["jobs", "--server", "h:1", "--json", "ls"]),
        (["--server=h:1", "run", "x"], ["run", "--server=h:1", "x"]),
        (["run", "x", "--json"], ["run", "x", "--json"]),
        (["--json"], []),
        (["--server"], []),
        (["--json", "--version"], ["--version"]),
        ([], []),
    ],
)
def test_they_are_read_behind_the_verb(given, read):
    assert _behind_the_verb(given) == read


@pytest.mark.parametrize("given", [["--json", "compare"], ["compare", "--json"]])
def test_a_verb_hears_them_from_either_side(given, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("fastclust.cli.view.print_json", told.append)
    found = SimpleNamespace(_asdict=dict)
    monkeypatch.setattr("fastclust.report.write_comparison", lambda *_, **_options: found)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({}))
    done = CliRunner().invoke(app, [*given, str(tmp_path / "a"), str(tmp_path / "b")])
    assert done.exit_code == 0, done.output
    assert len(told) == 1


def test_a_verb_that_has_none_refuses_one_given_before_it():
    done = CliRunner().invoke(app, ["--json", "demo"])
    assert done.exit_code == 2
    assert "--json" in done.output
