"""A worker takes no more processors than it was given, whatever library its work runs in."""

import subprocess
import sys
import threading
import time

import numba
import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - so that its BLAS is among the libraries before
import torch
from threadpoolctl import threadpool_info

from fastclust import distributed
from fastclust.cluster import chunks
from fastclust.distributed.threads import limited
from fastclust.errors import BackendError, InputError


def pools():
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}


def test_libraries_are_limited_inside_and_left_as_they_were():
    before, own = pools(), (numba.get_num_threads(), torch.get_num_threads())
    with limited(1):
        assert set(pools().values()) == {1}
        assert (numba.get_num_threads(), torch.get_num_threads()) == (1, 1)
    assert (numba.get_num_threads(), torch.get_num_threads()) == own
    # Numba's layer may have been loaded meanwhile.
    assert before.items() <= pools().items()


def test_moments_take_the_threads_of_the_worker(monkeypatch):
    real, going, most = chunks._moments, [0], [0]
    lock = threading.Lock()

    def counted(X):
        with lock:
            going[0] += 1
            most[0] = max(most[0], going[0])
        time.sleep(0.01)
        with lock:
            going[0] -= 1
        return real(X)

    monkeypatch.setattr(chunks, "_moments", counted)
    with limited(1):
        chunks.Spread(2).add(np.zeros((8 * chunks.CHUNK, 2), np.float32))
    assert most[0] == 1


SEARCH = """
from pathlib import Path
import numpy as np
import fastclust as fc
from fastclust.distributed.neighbors import _Searcher
from fastclust.neighbors.metrics import metric_of
rows = np.random.default_rng(0).normal(size=(20_000, 512)).astype(np.float32)
worker = _Searcher(fc.open_rows(rows), 0, metric_of("euclidean"), 1)
worker.search([rows[:100]], 5)
def used():
    tasks = Path("/proc/self/task").iterdir()
    return {task.name: sum(map(int, (task / "stat").read_text().split()[13:15])) for task in tasks}
before = used()
worker.search([rows[:3000]], 5)
spent = [ticks - before.get(name, 0) for name, ticks in used().items()]
print(max(spent) / sum(spent))
"""


def test_a_search_on_one_thread_takes_one_processor():
    """Nearly all processor time is one thread's, however busy the machine is."""
    done = subprocess.run([sys.executable, "-c", SEARCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0.9


@pytest.mark.parametrize(
    "wrong", [{"n_workers": 0}, {"n_workers": 1.5}, {"n_workers": "many"}, {"threads": 0}, {"threads": True}]
)
@pytest.mark.parametrize("call", [distributed.kneighbors_to, distributed.predict_to, distributed.transform_to])
def test_workers_and_threads_are_looked_at_before_any_work(tmp_path, call, wrong):
    """Neither the file nor the model exists: nothing was asked of them."""
    given = () if call is distributed.kneighbors_to else (None,)
    with pytest.raises(InputError, match=next(iter(wrong))):
        call(*given, tmp_path / "rows.npy", tmp_path / "out", address="here", **wrong)
    assert not (tmp_path / "out").exists()


def test_what_neighbours_may_be_asked_is_looked_at_before_any_work(tmp_path):
    rows = np.zeros((5, 2), np.float32)
    for wrong, field in (
        ({"n_neighbors": 1.5}, "n_neighbors"),
        ({"n_neighbors": 5}, "n_neighbors"),
        ({"memory": "much"}, "memory"),
    ):
        with pytest.raises(InputError, match=field):
            distributed.kneighbors_to(rows, tmp_path / "out", address="here", **wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong", [{"backend": "triton"}, {"backend": "cuda", "arithmetic": "half"}, {"arithmetic": "half"}]
)
def test_what_a_clusters_workers_do_not_do_is_refused_before_it_is_looked_for(wrong):
    with pytest.raises(BackendError, match=next(iter(wrong))):
        distributed.KMeans(2, **wrong, address="nobody:1").fit(np.zeros((5, 2), np.float32))
