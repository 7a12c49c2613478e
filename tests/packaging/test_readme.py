"""What README.md tells a newcomer to type exists and runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastclust.cli.demo import server
from fastclust.cli.main import app
from tests.commands import unknown_options

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
COMMANDS = [line for _, block in BLOCKS for line in block.splitlines() if line.startswith("fastclust ")]
PYTHON = [block for language, block in BLOCKS if language == "python"]


def test_there_is_something_to_check():
    assert len(COMMANDS) >= 8
    assert len(PYTHON) >= 3


@pytest.mark.parametrize("line", COMMANDS)
def test_verbs_and_options_of_each_command_exist(line):
    assert not unknown_options(line)


@pytest.mark.full
def test_every_block_of_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with server(tmp_path / "data") as address:
        for block in PYTHON:
            exec(compile(block.replace("localhost:50051", address), "README.md", "exec"), {})
    assert (tmp_path / "run" / "report.html").is_file()


def test_what_a_verb_needs_is_missed():
    assert unknown_options("fastclust embed digits -o out") == {"--model"}
    assert unknown_options("fastclust embed digits --out=out --model m --nothing") == {"--nothing"}


@pytest.mark.full
def test_the_verbs_that_it_shows_run(tmp_path):
    """The block as it is pasted into a shell."""
    (block,) = [block for _, block in BLOCKS if "fastclust doctor" in block]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, env=os.environ | {"PATH": path}, check=True)
    assert np.load(tmp_path / "out/embedded/embedding.npy").shape == (1797, 128)


@pytest.mark.full
def test_the_loop_that_it_shows_runs(tmp_path, monkeypatch):
    """Each of the four commands as it stands; the labels are what a person would export."""
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    start = next(place for place, line in enumerate(COMMANDS) if line.startswith("fastclust run"))
    for line in COMMANDS[start : start + 4]:
        words = shlex.split(line.split("#")[0])[1:]
        if words[0] == "view":
            words.append("--no-browser")
            (tmp_path / "labels.csv").write_text("id,label\n" + "".join(f"{row},{row % 10}\n" for row in range(30)))
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, (line, done.output)
    assert (tmp_path / "run2" / "compare.html").is_file()
