"""What all tests of the benchmarks share."""

import gc

import pytest

from bench import measure


@pytest.fixture(scope="module", autouse=True)
def _looked_through():
    """What other tests left is no garbage to look for before each timing."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _restless(monkeypatch):
    """Nothing is compared that a resting BLAS would change."""
    monkeypatch.setattr(measure, "_SETTLE", 0.0)
