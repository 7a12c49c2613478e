"""k-means in a torch.distributed group: gloo on processes of the CPU, and on Triton's kernels in the interpreter."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fastclust as fc
from fastclust.distributed import GroupKMeans
from fastclust.errors import BackendError

#: Each process keeps a stretch of the rows, of lengths that differ.
SCRIPT = """
import contextlib, io, os, sys, warnings, numpy as np, fastclust as fc
from torch import distributed
from fastclust import progress
from fastclust.distributed import GroupKMeans
from fastclust.errors import FastclustError, OperationCancelledError
out, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
distributed.init_process_group("gloo", init_method=f"file://{out}/met", rank=rank, world_size=size)
X, weights = np.load(out + "/X.npy"), np.load(out + "/weights.npy")
cuts = [0, 70, len(X)]
mine = slice(cuts[rank], cuts[rank + 1])
start = X[:6].copy()
start[5] = 1e3  # nothing is near it: the farthest row of all processes goes there
found = {}
for name, named in {
    "numba": {"init": start},
    "triton": {"init": start, "backend": "triton"},
    "drawn": {"init": "k-means++", "random_state": 3},
}.items():
    model = GroupKMeans(6, **named).fit(X[mine], sample_weight=weights[mine])
    found |= {f"{name}_centers": model.cluster_centers_, f"{name}_labels": model.labels_}
    found |= {f"{name}_inertia": model.inertia_, f"{name}_iterations": model.n_iter_}
said = []
for bad in ({"max_iter": 0} if rank else {}, {"algorithm": "elkan", "backend": "triton"}):
    try:
        GroupKMeans(3, init=X[:3].copy(), **bad).fit(X[mine])
    except FastclustError as error:
        said.append(f"{type(error).__name__}: {error}")
try:
    GroupKMeans(3, init=X[:3].copy()).fit(X[mine][:, : 4 - rank])
except FastclustError as error:
    said.append(f"{type(error).__name__}: {error}")
differ = []
other = np.full((3, 4), rank)
for bad, weight in (
    ({"n_clusters": 3 + rank}, None), ({"tol": 0.1 * rank}, None), ({"init": other}, None), ({"init": str}, None),
    ({"init": "random", "random_state": rank}, None), ({"backend": ("auto", "numba")[rank]}, None),
    ({"n_init": 2}, None),
    ({}, (None, 1)[rank]),
):
    try:
        GroupKMeans(**{"n_clusters": 3, "init": X[:3].copy()} | bad).fit(X[mine], sample_weight=weight)
    except FastclustError as error:
        differ.append(f"{type(error).__name__}: {error}")
with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(io.StringIO()) as printed:
    warnings.simplefilter("always")
    for k in (2, 3):  # each process has rows of one cluster
        points = np.array([[0.0], [1.0], [1.0]])[:k]
        GroupKMeans(k, init=points, verbose=1).fit(np.full((5, 1), float(rank)))
found |= {"warned": [str(each.message) for each in warned], "printed": printed.getvalue()}
spoilt = X[mine].copy()
spoilt[3, 1] = np.nan
np.save(f"{out}/spoilt{rank}.npy", spoilt)
late = fc.open_rows(f"{out}/spoilt1.npy", memory=1000) if rank else X[mine]
def cancel(told):
    if told.message.endswith("iteration 2") and rank == 1:
        raise OperationCancelledError("enough")
def fail(told):
    bounds.add(told.bound)
    if told.step == "kmeans" and rank == 0:
        raise ZeroDivisionError("no error of ours")
def leave(told):
    if told.step == "kmeans" and rank == 1:
        os._exit(0)
ended, bounds = [], set()
for rows, tol, listener in (
    (late, 0.1, None), (late, 0.0, None), (X[mine], 0.0, cancel), (X[mine], 0.0, fail), (X[mine], 0.0, leave)
):
    if listener is leave:
        np.savez(f"{out}/found{rank}.npz", said=said, differ=differ, ended=ended, **found)
    try:
        with progress.listening(listener):
            GroupKMeans(6, init=X[:6].copy(), tol=tol).fit(rows)
    except Exception as error:
        ended.append(f"{type(error).__name__}: {error}")
np.savez(f"{out}/found{rank}.npz", said=said, differ=differ, ended=ended, bounds=list(bounds), **found)
os._exit(0)  # the other process is gone
"""


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """What two processes found, and the rows they had."""
    out = tmp_path_factory.mktemp("group")
    rng = np.random.default_rng(0)
    X = (rng.normal(scale=5, size=(5, 4))[rng.integers(5, size=160)] + rng.normal(size=(160, 4))).astype(np.float32)
    np.save(out / "X.npy", X)
    np.save(out / "weights.npy", rng.random(160))
    (out / "run.py").write_text(SCRIPT)
    started = [
        subprocess.Popen(
            [sys.executable, out / "run.py", out, str(rank), "2"],
            env=os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "TRITON_INTERPRET": "1"},
        )
        for rank in range(2)
    ]
    assert [each.wait(timeout=240) for each in started] == [0, 0]
    return X, np.load(out / "weights.npy"), [np.load(out / f"found{rank}.npz") for rank in range(2)]


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_two_processes_find_what_one_finds(group, backend):
    X, weights, found = group
    start = X[:6].copy()
    start[5] = 1e3
    alone = fc.KMeans(6, init=start, backend="numba").fit(X, sample_weight=weights)
    one, other = found
    assert one[f"{backend}_centers"].tobytes() == other[f"{backend}_centers"].tobytes()
    np.testing.assert_allclose(one[f"{backend}_centers"], alone.cluster_centers_, rtol=1e-6)
    labels = np.concatenate([each[f"{backend}_labels"] for each in found])
    assert np.array_equal(labels, alone.labels_)
    for each in found:
        assert each[f"{backend}_inertia"] == pytest.approx(alone.inertia_, rel=1e-9)
        assert each[f"{backend}_iterations"] == alone.n_iter_


def test_a_start_by_name_is_the_same_in_all(group):
    X, weights, (one, other) = group
    assert one["drawn_centers"].tobytes() == other["drawn_centers"].tobytes()
    alone = fc.KMeans(6, init="k-means++", random_state=3).fit(X, sample_weight=weights)
    assert one["drawn_inertia"] == pytest.approx(alone.inertia_, rel=1e-9)


def test_what_one_process_raises_all_raise(group):
    one, other = (each["said"].tolist() for each in group[2])
    assert other[0].startswith("InputError: max_iter")
    assert one[0].startswith("UnavailableError: process 1 of the group cannot go on: InputError: max_iter")
    assert "elkan" in one[1]
    assert "elkan" in other[1]
    assert all("3 columns of float32 in process 1" in each[2] for each in (one, other))


def test_parameters_that_differ_between_processes_end_all(group):
    names = ["n_clusters", "tol", "init", "init", "random_state", "backend", "n_init", "sample_weight"]
    for each in group[2]:
        said = each["differ"].tolist()
        assert [one.split(":")[:2] for one in said] == [["InputError", f" {name}"] for name in names]
        assert all("in process 1" in one for number, one in enumerate(said) if number not in (3, 6))
        assert "a callable" in said[3]


def test_what_one_process_raises_at_work_ends_all(group):
    one, other = (each["ended"].tolist() for each in group[2])
    told = "UnavailableError: process 1 of the group cannot go on: "
    for first_pass in (0, 1):
        assert "NaN" in other[first_pass]
        assert one[first_pass] == told + other[first_pass]
    assert other[2] == "OperationCancelledError: enough"
    assert one[2] == told + other[2]
    assert one[3] == "ZeroDivisionError: no error of ours"
    assert other[3] == "InternalError: process 0 of the group cannot go on: " + one[3]
    assert group[2][0]["bounds"].tolist() == [True]
    assert one[4].startswith("UnavailableError: the processes of the group lost each other")


def test_duplicates_are_warned_of_and_the_first_process_prints(group):
    for each in group[2]:
        (warned,) = each["warned"].tolist()
        assert "distinct clusters (2) found smaller than n_clusters (3)" in warned
    assert str(group[2][0]["printed"]).startswith("Iteration 0, inertia 0.0.")
    assert not str(group[2][1]["printed"])


def test_without_a_group_it_is_said():
    with pytest.raises(BackendError, match="torchrun"):
        GroupKMeans(2).fit(np.eye(4))
