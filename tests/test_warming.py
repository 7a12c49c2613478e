"""What compiles a run's kernels beside it: it ends with whoever started it, and is not started for nothing."""

import json
import os
import subprocess
import sys

import pytest

from fastclust import warming


def test_it_ends_when_its_stdin_does():
    process = warming.start()
    process.stdin.close()
    assert process.wait(60) == 0


def test_it_is_started_only_where_nothing_is_kept_and_never_outlives_the_block(monkeypatch):
    started = []

    def start():
        started.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        return started[-1]

    monkeypatch.setattr(warming, "start", start)
    monkeypatch.setattr(warming, "kept", lambda: True)
    with warming.beside() as compiling:
        assert not compiling
    assert started == []
    monkeypatch.setattr(warming, "kept", lambda: False)
    with warming.beside() as compiling:
        assert compiling
        assert started[0].poll() is None
    assert started[0].poll() is not None


#: Prints which kernels a run compiles after warming, and how many there were.
_RUN = """
import json, sys
import numba.core.event as events
import numpy as np
from fastclust import warming
import fastclust as fc

compiled = []

class Seen(events.Listener):
    def on_start(self, event):
        compiled.append(event.data["dispatcher"].py_func.__module__)
    def on_end(self, event):
        pass

events.register("numba:compile", Seen())
warming._steps()
many = len(compiled)
images = fc.open_images("digits").read()[:1200]
fc.run(images, sys.argv[1], labels=np.arange(1200) % 10, n_clusters=10, epochs=1, map_max_iter=300)
print(json.dumps([many, sorted({name for name in compiled[many:] if name.startswith("fastclust_kernels")})]))
"""


@pytest.mark.full
def test_after_it_a_run_compiles_little_but_its_start(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=1200,
    )
    many, late = json.loads(done.stdout.splitlines()[-1])
    assert many > 40
    left_out = ("_seeding", "_anew", "_bounds", "_worth", "_exact")
    assert set(late) <= {f"fastclust_kernels.assign.{name}" for name in left_out}
