"""One table of backends drives every suite: a new backend is one row in its operation's table."""

from __future__ import annotations

import os

import pytest
import torch

from fastclust_kernels.dispatch import Request, tables

#: Backends that must run; one that cannot is then an error and no skip.
_REQUIRED = set(filter(None, os.environ.get("FASTCLUST_TEST_BACKENDS", "").split(",")))


def pytest_generate_tests(metafunc):
    """A test that asks for ``assign_backend`` runs once for each backend of ``assign`` that is not the oracle."""
    for operation, table in tables().items():
        name = f"{operation}_backend"
        if name in metafunc.fixturenames:
            rows = [row for row in table if row.name != "reference"]
            metafunc.parametrize(name, rows, ids=[row.name for row in rows], indirect=True)


def _usable(request, monkeypatch):
    """The row, in Triton's interpreter where there is no GPU, which must be said before its kernels are imported."""
    row = request.param
    if row.name == "triton" and not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    reasons = row.unsupported_reasons(Request(row.devices[0], row.dtypes[0], columns=1))
    if reasons and row.name in _REQUIRED:
        pytest.fail(f"{row.name} was asked for: {'; '.join(reasons)}")
    if reasons:
        pytest.skip(f"{row.name}: {'; '.join(reasons)}")
    return row


@pytest.fixture(scope="session")
def interpreted():
    """Whether a row runs in Triton's interpreter: each program of a launch takes milliseconds there."""
    return lambda row: row.name == "triton" and not torch.cuda.is_available()


@pytest.fixture
def assign_backend(request, monkeypatch):
    return _usable(request, monkeypatch)


@pytest.fixture
def update_backend(request, monkeypatch):
    return _usable(request, monkeypatch)


@pytest.fixture
def mahalanobis_backend(request, monkeypatch):
    return _usable(request, monkeypatch)


@pytest.fixture
def components_backend(request, monkeypatch):
    return _usable(request, monkeypatch)


@pytest.fixture
def attraction_backend(request, monkeypatch):
    return _usable(request, monkeypatch)


@pytest.fixture
def repulsion_backend(request, monkeypatch):
    return _usable(request, monkeypatch)
