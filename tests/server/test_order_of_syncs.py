"""What is on disk before it is acknowledged, in the order of the system calls.

A kill -9 proves nothing of that: what a process wrote stays in the system's cache. So the server and its worker run
under strace, and the trace must show each file, folder and the log of the database synced before the line that the
server logs just before it answers.
"""

import re
import shutil

import psutil
import pytest

import fastclust as fc
from fastclust.v1 import job_pb2

CALL = re.compile(r"^\d+\s+(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*)$")
PATH = re.compile(r"<([^<>]*)>")
#: Logged by what starts beside the calls, at any moment.
BESIDE = {"serving", "swept", "worker_started", "online_started"}


class Trace:
    """System calls that ended, in order, as (what, path)."""

    def __init__(self, text, root):
        self.steps = []
        waiting = {}
        for line in text.splitlines():
            process, _, rest = line.partition(" ")
            rest = rest.strip()
            if rest.endswith("<unfinished ...>"):
                waiting[process] = rest.removesuffix("<unfinished ...>")
                continue
            if rest.startswith("<..."):
                rest = waiting.pop(process, "") + rest.partition("resumed>")[2]
            self._take(rest, root)

    def _take(self, call, root):
        name = call.partition("(")[0]
        if name in {"fsync", "fdatasync"} and call.rstrip().endswith("= 0"):
            found = PATH.search(call)
            if found and found[1].startswith(root):
                self.steps.append(("sync", found[1].removeprefix(root).lstrip("/")))
        elif name.startswith("rename") and call.rstrip().endswith("= 0"):
            quoted = re.findall(r'"([^"]*)"', call)
            if quoted and quoted[-1].startswith(root):
                self.steps.append(("rename", quoted[-1].removeprefix(root).lstrip("/")))
        elif name == "write":
            event = re.search(r'\\"event\\": \\"(\w+)\\"', call)
            if event:
                self.steps.append(("log", event[1]))

    def without(self, pattern):
        """The same without the syncs of what matches."""
        other = object.__new__(Trace)
        other.steps = [step for step in self.steps if not (step[0] == "sync" and re.search(pattern, step[1]))]
        return other

    def before(self, event):
        """Steps since the last logged event up to this one, each time."""
        parts, part = [], []
        for step in self.steps:
            if step[0] == "log" and step[1] in BESIDE:
                continue
            if step[0] == "log":
                if step[1] == event:
                    parts.append(part)
                part = []
            else:
                part.append(step)
        return parts


LOG = r"fastclust\.db-wal$"


def in_order(steps, *patterns):
    """Whether syncs (or renames, "> pattern") of these are there, one after another."""
    place = 0
    for pattern in patterns:
        kind, wanted = ("rename", pattern[2:]) if pattern.startswith("> ") else ("sync", pattern)
        while place < len(steps) and not (steps[place][0] == kind and re.search(wanted, steps[place][1])):
            place += 1
        if place == len(steps):
            return False
        place += 1
    return True


def problems(trace):
    """What was acknowledged before it was on disk."""
    found = []
    rules = {
        "upload_created": [(r"^uploads/\w+\.npy$", LOG), (r"^uploads$", LOG)],
        # What came is synced and acknowledged; then the file is moved, and both folders and the row are on disk.
        "dataset_created": [
            (r"^uploads/\w+\.npy$", LOG, r"> ^datasets/", r"^datasets$", LOG),
            (r"> ^datasets/", r"^uploads$", LOG),
        ],
        "job_created": [(LOG,)],
        "job_succeeded": [
            (r"^artifacts/\w+/1/\.labels\.npy", r"> labels\.npy$", r"^artifacts/\w+/1$", LOG),
            (r"^artifacts/\w+/1/\.?cluster_centers\.npy", LOG),
            (r"^artifacts/\w+/1/\.?kmeans\.safetensors", LOG),
            (r"^artifacts/\w+$", LOG),
            (r"^artifacts$", LOG),
        ],
    }
    for event, wanted in rules.items():
        parts = trace.before(event)
        if not parts:
            found.append(f"no {event}")
        for part in parts:
            found += [f"{event}: {rule}" for rule in wanted if not in_order(part, *rule)]
    return found


def end(server):
    """Strace keeps signals to itself, so the server is told, and strace ends with it."""
    (child,) = psutil.Process(server.process.pid).children()
    child.terminate()
    server.process.wait(90)
    return server.stop()


@pytest.fixture(scope="module")
def trace(server_class, blobs, tmp_path_factory):
    """Of a server that takes an upload and runs a job."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: no system call can be seen")
    # Compiled before: under strace that takes longer than any wait here.
    fc.KMeans(2, random_state=0).fit(blobs(100, 4))
    folder = tmp_path_factory.mktemp("traced")
    out = folder / "trace"
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,write"
    server = server_class(folder / "data")
    server.prefix = ["strace", "-f", "-qq", "-y", "-s", "300", "-e", calls, "-o", str(out)]
    server.start()
    data = server.upload(blobs(100, 4))
    done = server.wait(server.submit(kmeans={"dataset": data.name, "clusters": {"fixed": 2}}))
    assert done.state == job_pb2.JOB_STATE_SUCCEEDED, done.error
    assert end(server) == 0
    return Trace(out.read_text(errors="replace"), str(folder / "data"))


def test_nothing_is_acknowledged_before_it_is_on_disk(trace):
    assert problems(trace) == []


TAKEN_OUT = [r"^uploads/\w+\.npy$", "^uploads$", "^datasets$", LOG, r"labels\.npy"]
TAKEN_OUT += [r"^artifacts/\w+/1$", r"^artifacts/\w+$", "^artifacts$"]


@pytest.mark.parametrize("taken_out", TAKEN_OUT)
def test_the_check_sees_each_sync_that_is_missing(trace, taken_out):
    assert problems(trace.without(taken_out))


@pytest.mark.full
@pytest.mark.parametrize("skipped", ["uploads/", "uploads$", "datasets$", "artifacts", "database"])
def test_a_server_that_leaves_a_sync_out_is_found_out(server_class, blobs, tmp_path, skipped):
    """The same with real servers whose os.fsync does nothing for some paths, and one whose database does not sync."""
    out = tmp_path / "trace"
    server = server_class(tmp_path / "data")
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,write"
    server.prefix = ["strace", "-f", "-qq", "-y", "-s", "300", "-e", calls, "-o", str(out)]
    server.environment = {"FASTCLUST_TEST_NO_SYNC": skipped, "PYTHONPATH": str(patch(tmp_path))}
    server.start()
    data = server.upload(blobs(100, 4))
    server.wait(server.submit(kmeans={"dataset": data.name, "clusters": {"fixed": 2}}))
    end(server)
    assert problems(Trace(out.read_text(errors="replace"), str(tmp_path / "data")))


def patch(folder):
    """A sitecustomize for the server and its worker."""
    place = folder / "patch"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import os, re, sqlite3\n"
        "skipped, real = os.environ['FASTCLUST_TEST_NO_SYNC'], os.fsync\n"
        "os.fsync = lambda fd: None if re.search(skipped, os.readlink(f'/proc/self/fd/{fd}')) else real(fd)\n"
        "if skipped == 'database':\n"
        "    class Cursor(sqlite3.Cursor):\n"
        "        def execute(self, text, *rest):\n"
        "            return super().execute(text.replace('synchronous = FULL', 'synchronous = OFF'), *rest)\n"
        "    class Connection(sqlite3.Connection):\n"
        "        def cursor(self, factory=Cursor):\n"
        "            return super().cursor(factory)\n"
        "    connect = sqlite3.connect\n"
        "    sqlite3.dbapi2.connect = sqlite3.connect = lambda *a, **k: connect(*a, **{**k, 'factory': Connection})\n"
    )
    return place
