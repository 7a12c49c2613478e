"""Threads are made equal, memory is seen, ceilings are rates."""

import os

import numpy as np
import pytest

from bench import ceilings, machine


@pytest.fixture
def _threads():
    yield
    machine.equalise(machine.threads_available())


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("threads", [1, 2])
def test_every_loaded_library_gets_the_same_number_of_threads(threads):
    import faiss
    import numba
    import torch
    from threadpoolctl import threadpool_info

    if threads > machine.threads_available():
        pytest.skip("more threads than cores")
    machine.equalise(threads)
    assert numba.get_num_threads() == threads
    assert torch.get_num_threads() == threads
    assert faiss.omp_get_max_threads() == threads
    assert {pool["num_threads"] for pool in threadpool_info()} == {threads}


def test_libraries_to_be_loaded_are_told(monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    machine.prepare_threads(3)
    assert machine.threads_given() == 3


def test_anonymous_memory_is_seen_while_it_is_there():
    with machine.watched_anonymous() as most:
        for _ in range(20):
            np.ones(32 * 2**20, np.uint8).sum()
    assert 24 * 2**20 <= most[0] <= 200 * 2**20


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sgemm-square", {"n": 64}),
        ("sgemm-block", {"d": 8, "centers": 16, "rows": 32}),
        ("copy", {"megabytes": 1}),
        ("disk-write", {"megabytes": 1}),
        ("file-read", {"megabytes": 1}),
        ("grpc-upload", {"megabytes": 2}),
        ("grpc-download", {"megabytes": 2}),
        ("grpc-echo", {"calls": 3}),
    ],
)
def test_each_ceiling_is_a_rate(name, arguments):
    assert ceilings.measure(name, **arguments) > 0
    assert ceilings.UNITS[name] in {"flops", "bytes", "calls"}


def test_the_bare_server_moves_what_it_says():
    from bench.bare_grpc import serving

    with serving() as bare:
        assert bare.upload([b"abc", b"de"]) == b"5"
        assert bare.download(3) == 3 * 2**20
        assert bare.echo(b"word") == b"word"
