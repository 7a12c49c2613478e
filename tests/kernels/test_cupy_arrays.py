"""CuPy's arrays in and out without a copy: a stand-in that speaks only DLPack, as CuPy's do, in host memory."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastclust_kernels import mahalanobis, tensors, update
from fastclust_kernels.errors import InputError
from tests.interpreting import loaded

loaded()


class Array:
    """Neither NumPy's nor torch's: who does not go through DLPack gets nothing."""

    def __init__(self, given):
        self.held = np.from_dlpack(given) if isinstance(given, torch.Tensor) else given

    def __dlpack__(self, **named):
        return self.held.__dlpack__(**named)

    def __dlpack_device__(self):
        return self.held.__dlpack_device__()

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    @property
    def place(self):
        return self.held.ctypes.data


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    """Host memory counts as a GPU's, so that all of the way there and back is walked."""
    monkeypatch.setattr(tensors, "_CUDA", (1,))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(from_dlpack=Array))
    if torch.cuda.is_available():
        pytest.skip("host memory is not where kernels run: there is a GPU")
    monkeypatch.setenv("TRITON_INTERPRET", "1")


def rows(n, d, seed=0):
    return Array(np.random.default_rng(seed).normal(size=(n, d)))


def test_kernels_get_the_very_memory_and_so_does_the_caller(monkeypatch):
    from fastclust_kernels.mahalanobis import device  # as late as its callers: then it is made for the interpreter

    X, Y, seen = rows(5, 3), rows(7, 3, 1), []
    whole = device.pairs

    def spied(*tensors_, **named):
        seen.append([each.data_ptr() for each in (*tensors_[:2], tensors_[3])])
        whole(*tensors_, **named)

    monkeypatch.setattr(device, "pairs", spied)
    found, _ = mahalanobis.pairs(X, Y, np.eye(3), backend="triton")
    assert isinstance(found, Array)
    assert seen.pop() == [X.place, Y.place, found.place]
    np.testing.assert_allclose(found.held, np.linalg.norm(X.held[:, None] - Y.held, axis=2), rtol=1e-12)
    out = Array(np.full((5, 7), np.nan))
    told, _ = mahalanobis.pairs(X, Y, np.eye(3), backend="triton", out=out)
    assert told is out
    assert seen.pop() == [X.place, Y.place, out.place]
    assert np.array_equal(out.held, found.held)


def test_every_operation_gives_back_what_it_was_given():
    X, means, factors = rows(6, 2), rows(3, 2, 1), Array(np.stack([np.eye(2)] * 3))
    away = mahalanobis.to_components(X, means, factors, backend="triton")
    near = mahalanobis.nearest(X, means, np.eye(2), 2, backend="triton")
    beside, _ = mahalanobis.paired(X, X, np.eye(2), backend="triton")
    sums = update.update(X, Array(np.arange(6) % 3), 3, backend="triton")
    for each in (away, near.distances, near.indices, beside, sums.sums, sums.weights):
        assert isinstance(each, Array)
    exact = np.linalg.norm(X.held[:, None] - means.held, axis=2)
    np.testing.assert_allclose(away.held, exact, rtol=1e-12)
    assert np.array_equal(near.indices.held, np.argsort(exact, axis=1)[:, :2])
    assert not beside.held.any()
    np.testing.assert_allclose(sums.sums.held, X.held[:3] + X.held[3:], rtol=1e-14)


def test_an_out_of_the_wrong_kind_is_refused():
    with pytest.raises(InputError, match="out"):
        mahalanobis.pairs(rows(5, 3), rows(7, 3), np.eye(3), backend="triton", out=Array(np.empty((5, 7), np.float32)))
