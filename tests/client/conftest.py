"""A real server, started as the command line starts it."""

import numpy as np
import pytest

from fastclust.cli.demo import server
from fastclust.client import Client


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with server(tmp_path_factory.mktemp("server") / "data") as at:
        yield at


@pytest.fixture
def client(address):
    with Client(address) as opened:
        yield opened


@pytest.fixture(scope="session")
def rows():
    rng = np.random.default_rng(0)
    return (rng.normal(scale=6, size=(5, 8))[rng.integers(5, size=400)] + rng.normal(size=(400, 8))).astype(np.float32)
