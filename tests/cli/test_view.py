"""``fastclust view --port``: the page and nothing else of the folder, for this machine only."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.report.runs import write_run


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("served"), n=60)
    script = "from fastclust.cli.main import main; main()"
    command = [sys.executable, "-c", script, "view", str(folder), "--port", "0", "--no-browser", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    told = ""
    while not told.endswith("}\n"):
        told += process.stdout.readline()
    yield json.loads(told)["url"]
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_the_page_is_served(served):
    with urlopen(served, timeout=20) as answer:
        assert b"fastclust" in answer.read()


@pytest.mark.parametrize("path", ["run.json", "embedding.npy", "", "../", "%2e%2e/", "report.html/../run.json"])
def test_nothing_else_is(served, path):
    with pytest.raises(HTTPError) as caught:
        urlopen(served.replace("report.html", path), timeout=20)
    assert caught.value.code == 404


def test_a_page_of_another_name_cannot_read_it(served):
    """A name that an attacker's site points at this machine."""
    with pytest.raises(HTTPError):
        urlopen(Request(served, headers={"Host": "evil.example:80"}), timeout=20)
