"""What server/README.md tells a stranger to type, from the start to the restart, typed in its order."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import typer

from fastclust.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "server" / "README.md").read_text("utf-8")
#: Blocks of each section, by its title.
SECTIONS = {
    part.partition("\n")[0]: re.findall(r"^```(\w*)\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    for part in TEXT.split("\n## ")[1:]
}
COMMANDS = [line for blocks in SECTIONS.values() for _, block in blocks for line in block.splitlines()]
FASTCLUST = [sys.executable, "-c", "from fastclust.cli.main import main; main()"]


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("fastclust ")])
def test_verbs_and_options_of_each_command_exist(line):
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app).commands[words[0]]
    if words[0] == "serve":
        return  # its options are the server's, and the path below starts it with them
    if hasattr(command, "commands"):
        command, words = command.commands[words[1]], words[1:]
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= known


class Stranger:
    """A folder, a free port in place of the one that is written there, and servers to be ended."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = str(one.getsockname()[1])
        self.environment = dict(os.environ)
        self.servers = []

    def words(self, line):
        words = shlex.split(line.replace("50051", self.port), comments=True)
        swap = {"fastclust": FASTCLUST, "python": [sys.executable]}
        return swap.get(words[0], words[:1]) + words[1:]

    def type(self, line, *, status=0):
        done = subprocess.run(
            self.words(line), cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, (line, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def serve(self, line):
        process = subprocess.Popen(self.words(line), cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.servers.append(process)
        assert b"listening" in process.stdout.readline()
        return process

    def kill(self, process):
        """Kill -9 the server that ``fastclust serve`` started."""
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.wait(30)

    def end(self):
        for process in self.servers:
            with contextlib.suppress(psutil.NoSuchProcess):
                children = psutil.Process(process.pid).children(recursive=True)
                process.send_signal(signal.SIGTERM)
                psutil.wait_procs(children, 20)
            process.wait(20)
            process.stdout.close()


@pytest.fixture
def stranger(tmp_path):
    made = Stranger(tmp_path)
    yield made
    made.end()


def commands_of(title):
    return [line for _, block in SECTIONS[title] for line in block.splitlines()]


def python_of(title):
    return next(block for language, block in SECTIONS[title] if language == "python")


def test_each_block_stands_where_a_path_below_types_it():
    typed = {"Start", "Submit from Python", "Submit from the command line", "Submit from Node"}
    typed |= {"Watch, cancel, restart", "Let others in"}
    assert {title for title, blocks in SECTIONS.items() if blocks} == typed
    assert sum(map(len, SECTIONS.values())) == len(typed) + 1  # "Let others in" has two
    # A path types all lines of a block but that of pip, whose environment the tests have.
    assert [line.split()[0] for line in commands_of("Start")] == ["pip", "fastclust"]


@pytest.mark.full
def test_start_submit_watch_cancel_and_restart(stranger):
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    start = commands_of("Start")[-1]
    server = stranger.serve(start)
    script = stranger.folder / "submit.py"
    script.write_text(python_of("Submit from Python").replace("50051", stranger.port))
    assert "succeeded 100%" in stranger.type("python submit.py")
    server_option = f"--server localhost:{stranger.port}"
    for line in commands_of("Submit from the command line"):
        said = stranger.type(line if "ls" not in line else f"{line} {server_option}")
    assert "kmeans" in said
    node = shutil.copytree(ROOT / "tests/node", stranger.folder / "node", ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=node, check=True)
    stranger.type(f"node {node}/client.mjs localhost:{stranger.port} {ROOT}/proto")

    tsne, _ls, watch, download, cancel, *tidy = commands_of("Watch, cancel, restart")
    running = subprocess.Popen(stranger.words(tsne), cwd=stranger.folder, stderr=subprocess.PIPE, text=True)
    name = wait_for_a_job(stranger, server_option)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert (running.returncode, name in said) == (130, True), said
    stranger.kill(server)
    stranger.serve(start)
    words = stranger.words(f"{watch.replace('jobs/...', name)} {server_option}")
    watching = subprocess.Popen(words, cwd=stranger.folder, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while shown(stranger, name, server_option)["attempt"] < 2:
        assert time.monotonic() < until
        time.sleep(0.2)
    stranger.type(f"{cancel.replace('jobs/...', name)} {server_option}")
    watching.communicate(timeout=60)
    assert shown(stranger, name, server_option)["state"] == "cancelled"
    listed = json.loads(stranger.type(f"fastclust jobs ls {server_option} --json"))["jobs"]
    ended = next(job["name"] for job in listed if (job["kind"], job["state"]) == ("kmeans", "succeeded"))
    bring = download.partition("#")[0].replace("jobs/...", ended).replace("-o map", "-o downloaded")
    stranger.type(f"{bring} {server_option}")
    assert (stranger.folder / "downloaded" / "labels.npy").is_file()
    kept = json.loads(stranger.type(f"fastclust datasets ls {server_option} --json"))["datasets"]
    for line in tidy:  # jobs delete, datasets ls, datasets delete
        named = line.partition("#")[0].replace("jobs/...", name).replace("datasets/...", kept[0]["name"])
        stranger.type(f"{named} {server_option}")
    assert name not in stranger.type(f"fastclust jobs ls {server_option}")
    assert kept[0]["name"] not in stranger.type(f"fastclust datasets ls {server_option}")


def shown(stranger, name, server_option):
    return json.loads(stranger.type(f"fastclust jobs show {name} {server_option} --json"))


def wait_for_a_job(stranger, server_option):
    """The name of a map that runs."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        listed = json.loads(stranger.type(f"fastclust jobs ls {server_option} --json"))
        for job in listed["jobs"]:
            if (job["kind"], job["state"]) == ("tsne", "running"):
                return job["name"]
        time.sleep(0.2)
    raise AssertionError("no job runs")


@pytest.mark.full
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not here")
def test_let_others_in(stranger):
    (_, shell), (_, script) = SECTIONS["Let others in"][:2]
    make, start = shell.rsplit("\n", 2)[0], shell.splitlines()[-1]
    subprocess.run(["bash", "-ec", make], cwd=stranger.folder, check=True, capture_output=True)
    stranger.serve(start.replace("0.0.0.0", "127.0.0.1"))
    (stranger.folder / "others.py").write_text(script.replace("50051", stranger.port))
    assert "[]" in stranger.type("python others.py")
    (line,) = re.findall(r"`(FASTCLUST_TOKEN=[^`]*)`", TEXT)
    secrets, _, command = line.partition(" fastclust ")
    token = (stranger.folder / "tokens").read_text().split(":")[0]
    stranger.environment |= dict(pair.split("=") for pair in secrets.replace("...", token).split())
    stranger.type(f"fastclust {command}")
    stranger.environment["FASTCLUST_TOKEN"] = "wrong"
    assert "not known to this server" in stranger.type(f"fastclust {command}", status=1)
