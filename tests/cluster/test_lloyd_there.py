"""Lloyd's iteration that stays on the device: the bits of the one that the host leads, and no waiting in between."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import fastclust as fc
from fastclust import progress
from fastclust.cluster.lloyd import lloyd
from tests.interpreting import loaded

loaded()


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")


def blobs(n=70, d=3, k=5, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(scale=4, size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


def both(X, start, *, weights=None, tol=0.0, max_iter=30, cosine=False, record=None):
    from fastclust.cluster.device_lloyd import lloyd_there
    from fastclust.cluster.device_rows import device_rows

    named = {"weights": weights, "tol": tol, "max_iter": max_iter, "cosine": cosine}
    ours = lloyd_there(device_rows(X, "triton", finite=True), start, record=record, **named)
    theirs = lloyd(device_rows(X, "triton", finite=True), start, backend="triton", **named)
    assert ours.n_iter == theirs.n_iter
    assert np.array_equal(ours.labels, theirs.labels)
    if cosine:
        # Lengths are not added up in the same order.
        np.testing.assert_allclose(ours.centers, theirs.centers, atol=1e-6)
    else:
        assert ours.centers.tobytes() == theirs.centers.tobytes()
        assert ours.inertia == theirs.inertia
    return ours


@pytest.mark.parametrize(
    ("weighted", "tol", "max_iter"),
    [(False, 0.0, 30), (True, 0.0, 30), (False, 5.0, 30), (False, 0.0, 3), (True, 0, 0)],
)
def test_it_ends_where_the_host_would_end_it_with_the_same_bits(weighted, tol, max_iter):
    X = blobs()
    weights = np.random.default_rng(1).integers(0, 3, len(X)).astype(float) if weighted else None
    found = both(X, X[:4].copy(), weights=weights, tol=tol, max_iter=max_iter)
    assert found.n_iter == max_iter if max_iter < 30 else 1 < found.n_iter < 30


def test_empty_clusters_and_shrunken_ones_are_done_by_the_host(monkeypatch):
    from fastclust.cluster import device_lloyd

    asked = []
    whole = device_lloyd._State.by_host
    monkeypatch.setattr(device_lloyd._State, "by_host", lambda self: asked.append(1) or whole(self))
    X = blobs()
    start = X[:4].copy()
    start[3] = 1e3  # nothing is near it
    both(X, start, max_iter=4)
    assert asked
    asked.clear()
    # A giant leaves a cluster of small ones: what is left of it there is rounding.
    giant = np.float32([[0, 0], [1, 0], [0, 1], [1, 1], [2, 1], [2, 2], [1e7, 0], [1.5e7, 0]])
    both(giant, np.float32([[0, 0], [2.1e7, 0]]), max_iter=4)
    assert asked


def test_each_iteration_is_one_graph_and_nothing_in_it_waits_for_the_device():
    """What waits is what brings numbers to the host, or whose result has a size that only the device knows."""
    waits = {"_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "is_nonzero"}

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), named=None):
            name = function.overloadpacket.__name__
            lists = [each for part in arguments if isinstance(part, (list, tuple)) for each in part]
            masks = [each for each in lists if isinstance(each, torch.Tensor) and each.dtype == torch.bool]
            if name in waits or (name.startswith("index") and masks):
                raise AssertionError(f"{name} waits for the device")
            return function(*arguments, **(named or {}))

    class Graph:
        made, replayed = 0, 0

        def __init__(self, step):
            self._step = step
            Graph.made += 1

        def replay(self):
            Graph.replayed += 1
            with Watch():
                self._step()

    X = blobs()
    found = both(X, X[:4].copy(), weights=np.ones(len(X)), record=Graph)
    # The first iteration is not recorded; two more are launched than there are.
    assert (Graph.made, Graph.replayed) == (1, found.n_iter - 1 + 2)
    with pytest.raises(AssertionError, match="waits"), Watch():
        torch.ones(3)[torch.tensor([True, False, True])].sum().item()


def test_progress_comes_for_each_iteration_and_may_end_it():
    X, heard = blobs(), []
    with progress.listening(heard.append):
        model = fc.KMeans(4, init=X[:4].copy(), backend="triton").fit(X)
    assert len([each for each in heard if "iteration" in each.message]) == model.n_iter_

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), progress.listening(stop):
        fc.KMeans(4, init=X[:4].copy(), backend="triton").fit(X)


def test_spherical_means_are_those_of_the_host():
    X = blobs()
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    both(X, X[:4].copy(), cosine=True)
