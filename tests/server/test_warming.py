"""What a worker compiles before its first job: all that k-means needs, and a job that comes meanwhile goes first."""

import json
import subprocess
import sys
import threading
import time
import types

import pytest

from fastclust_server.config import Settings
from fastclust_server.jobs import worker as module
from fastclust_server.jobs.worker import Worker

#: Fits as jobs do, from files, and prints which kernels were compiled or loaded by warming, and which only then.
_FITS = """
import json, sys
import numpy as np
from numba.core.dispatcher import Dispatcher
from fastclust.cluster import KMeans
from fastclust.data import open_rows
from fastclust.metric import MahalanobisMetric
from fastclust_server.jobs.warming import warming

def known():
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("fastclust_kernels"):
            for key, value in list(vars(module).items()):
                if isinstance(value, Dispatcher):
                    found[f"{name}.{key}"] = set(value.signatures)
    return found

cold = known()
for _ in warming():
    pass
before = known()
for dtype in ("float32", "float64"):
    rows = np.random.default_rng(0).standard_normal((3000, 12)).astype(dtype)
    np.save(sys.argv[1], rows)
    for metric in ("euclidean", "cosine", MahalanobisMetric().fit(rows)):
        KMeans(30, metric=metric, random_state=0, max_iter=5).fit(open_rows(sys.argv[1]))
    KMeans(30, init="random", n_init=2, random_state=0, max_iter=5).fit(open_rows(sys.argv[1]))

def gained(then, now):
    return sorted(name for name, found in now.items() if found - then.get(name, set()))

print(json.dumps([gained(cold, before), gained(before, known())]))
"""


def test_after_warming_no_fit_compiles_anything(tmp_path):
    command = [sys.executable, "-c", _FITS, str(tmp_path / "rows.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    warmed, late = json.loads(done.stdout)
    assert "fastclust_kernels.assign._dense._dense" in warmed
    assert late == []


class _OverError(Exception):
    """No claims are left."""


def run(monkeypatch, claims, steps, compiles=0, **settings):
    """What a worker does whose claims give these (None: there is no job), while another process ``compiles``."""
    done, left, looks = [], list(claims), iter([None] * compiles + [0] * 9)

    def claim(*_):
        if not left:
            raise _OverError
        return left.pop(0)

    def warm():
        for step in range(steps):
            done.append(step)
            yield str(step)
        if not steps:
            raise RuntimeError("no compiler")

    def log(event, *_others, **_fields):
        done.append(event)

    monkeypatch.setattr(module, "warming", warm)
    monkeypatch.setattr(module, "kept", lambda: not compiles)
    monkeypatch.setattr(module, "start", lambda: types.SimpleNamespace(pid=1, poll=lambda: next(looks)))
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(module, "log", types.SimpleNamespace(event=log, failure=log))
    worker = Worker(
        None, types.SimpleNamespace(claim=claim), None, Settings("data", **settings), worker="w", server="s"
    )
    monkeypatch.setattr(worker, "attempt", done.append)
    with pytest.raises(_OverError):
        worker.run()
    return done


def test_a_job_that_comes_meanwhile_goes_before_the_next_step(monkeypatch):
    done = run(monkeypatch, ["a", None, "b", "c", None, None, None], 2)
    assert done == ["a", 0, "b", "c", 1, "worker_warm"]


def test_a_worker_warms_itself_after_another_process_has_compiled(monkeypatch):
    done = run(monkeypatch, [None, "a", None, None, None], 1, compiles=2)
    assert done == ["compiling", "a", 0, "worker_warm"]


def test_a_worker_that_cannot_be_warmed_works_all_the_same(monkeypatch):
    assert run(monkeypatch, [None, "a", None], 0) == ["warming_failed", "a"]


def test_a_worker_that_is_to_stay_cold_does(monkeypatch):
    assert run(monkeypatch, [None, "a", None], 2, cold=True) == ["a"]


def test_a_worker_that_compiles_ends_at_once_when_it_is_told_to(monkeypatch):
    """From the thread that listens to the supervisor; the compiler would go on for seconds."""
    ended = []
    monkeypatch.setattr(module, "os", types.SimpleNamespace(_exit=ended.append))
    worker = Worker(None, None, None, Settings("data"), worker="w", server="s")
    told = threading.Thread(target=worker.stop)

    def compiling():
        told.start()
        told.join()
        yield "kernels"

    worker._warm(compiling())
    assert ended == [0]
    worker.stop()  # between steps it ends by itself
    assert ended == [0]


def test_a_server_warms_its_worker(new_server):
    server = new_server(cold=False).start()
    until = time.monotonic() + 200
    while time.monotonic() < until and not server.events("worker_warm"):
        time.sleep(0.05)
    assert server.events("worker_warm")
    assert server.stop() == 0
