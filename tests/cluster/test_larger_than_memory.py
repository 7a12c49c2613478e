"""k-means on files of 4 and 20 GB: the memory allowed, a kill, and the bits of rows in memory. Needs 25 GB of disk."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

D = 128

FIT = """
import json, os, signal, sys, threading, time
import numpy as np
import fastclust as fc
from fastclust import progress

path, how, out = sys.argv[1:4]
folder, memory, die = (sys.argv[4:] + ["", "", ""])[:3]

def anonymous():
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("RssAnon"))

most, going = [0], [True]
def watch():
    while going[0]:
        most[0] = max(most[0], anonymous())
        time.sleep(0.005)

seen = []
def listen(told):
    seen.append(told.message)
    late = told.step == "pass" and told.fraction > 0.4 and any("iteration 2" in one for one in seen)
    if late and die == "yes":
        os.kill(os.getpid(), signal.SIGKILL)

start = np.load(path, mmap_mode="r")[:64].copy()
rows = np.load(path) if how == "memory" else fc.open_rows(path, memory=memory)
model = fc.KMeans(64, init=start, n_init=1, tol=0, max_iter=4, random_state=0, algorithm="lloyd")
more = {"checkpoint": folder} if folder else {}
fc.KMeans(64, init=start, n_init=1, max_iter=2, algorithm="lloyd").fit(start.repeat(200, axis=0))  # compiles
thread = threading.Thread(target=watch)
thread.start()
began = time.perf_counter()
with progress.listening(listen):
    model.fit(rows, **more)
took = time.perf_counter() - began
going[0] = False
thread.join()
np.savez(out, centers=model.cluster_centers_, labels=model.labels_, inertia=model.inertia_, n_iter=model.n_iter_)
print(json.dumps({"seconds": took, "bytes": most[0], "iterations": len([one for one in seen if "iteration" in one])}))
"""


@pytest.fixture
def written(tmp_path):
    """A function that writes clustered rows of some bytes; the file goes when the test ends."""

    def write(size):
        n = size // (4 * D)
        if shutil.disk_usage(tmp_path).free < size + 5 * 10**9:
            pytest.skip(f"needs {size / 1e9 + 5:.0f} GB of disk in {tmp_path}")
        out = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (n, D))
        rng = np.random.default_rng(0)
        middles = rng.normal(size=(200, D)).astype(np.float32) * 2
        noise = rng.normal(size=(200_000, D)).astype(np.float32)
        for low in range(0, n, len(noise)):
            many = min(len(noise), n - low)
            # Noise in another order each time: new rows at the speed of a copy.
            out[low : low + many] = noise[rng.permutation(len(noise))[:many]] + middles[rng.integers(200, size=many)]
        out.flush()
        return tmp_path / "rows.npy"

    yield write
    shutil.rmtree(tmp_path, ignore_errors=True)


def fit(*words):
    command = [sys.executable, "-c", FIT, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else {}


def same(one, other):
    first, second = np.load(one), np.load(other)
    for name in ("centers", "labels", "inertia", "n_iter"):
        assert np.array_equal(first[name], second[name]), name


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_20_gb_are_clustered_in_an_eighth_of_that_and_a_killed_fit_goes_on_to_the_same_bits(written, tmp_path):
    path = written(20 * 10**9)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    code, _ = fit(path, "file", tmp_path / "none.npz", killed, "2GB", "yes")
    assert code == -signal.SIGKILL
    code, resumed = fit(path, "file", tmp_path / "resumed.npz", killed, "2GB")
    assert code == 0
    code, once = fit(path, "file", tmp_path / "whole.npz", whole, "2GB")
    assert code == 0
    print("20 GB, 2GB allowed:", resumed, once)
    assert max(resumed["bytes"], once["bytes"]) < path.stat().st_size / 8
    assert resumed["iterations"] == once["iterations"] - 2
    same(tmp_path / "resumed.npz", tmp_path / "whole.npz")


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_4_gb_in_their_file_give_the_bits_of_4_gb_in_memory(written, tmp_path):
    path = written(4 * 10**9)
    found = {}
    for how, memory in (("memory", ""), ("file", "500MB")):
        code, found[how] = fit(path, how, tmp_path / f"{how}.npz", "", memory)
        assert code == 0
    print("4 GB, in memory and in the file:", found)
    assert found["file"]["bytes"] < path.stat().st_size / 8
    same(tmp_path / "memory.npz", tmp_path / "file.npz")
