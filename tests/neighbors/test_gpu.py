"""Neighbours on a GPU: our kernels in Triton's interpreter, and FAISS's indexes with a build that says it has a GPU."""

import types

import numpy as np
import pytest
import torch

import fastclust as fc
from fastclust.errors import BackendError
from fastclust.neighbors import engines, gpu
from fastclust.neighbors.packages import faiss

ROWS = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)


@pytest.fixture
def pretended(monkeypatch):
    """FAISS for the CPU with the names of its GPU build: an index "moved" is the one that came."""
    moved = []

    def move(held, device, index):
        if "HNSW" in type(index).__name__:
            raise RuntimeError("no such thing\nThis index type is not implemented on GPU.")
        moved.append((held, device, type(index).__name__))
        return index

    whole = faiss()
    module = types.SimpleNamespace(
        **{name: getattr(whole, name) for name in dir(whole) if not name.startswith("__")},
    )
    module.get_num_gpus, module.StandardGpuResources, module.index_cpu_to_gpu = lambda: 1, lambda: "held", move
    monkeypatch.setattr(engines, "faiss", lambda: module)
    monkeypatch.setattr(gpu, "faiss", lambda: module)
    module.moved = moved
    return module


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "mahalanobis"])
def test_exact_neighbours_are_those_of_the_cpu(metric, monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    by = fc.MahalanobisMetric().fit(ROWS) if metric == "mahalanobis" else metric
    ours, theirs = (fc.NeighborIndex(by, backend=each).fit(ROWS) for each in ("gpu", "cpu"))
    assert ours.index_ == "exact"
    for queries in (None, ROWS[:7] + np.float32(0.1)):
        for one, other in zip(ours.kneighbors(queries, 4), theirs.kneighbors(queries, 4), strict=True):
            assert np.array_equal(one, other)
    assert ours.add(ROWS[:3]).kneighbors(ROWS[:1], 2)[1].tolist() == [[0, 40]]


@pytest.mark.parametrize(
    ("index", "kind"),
    [
        ("flat", "IndexFlat"),
        ("ivf", "IndexIVFFlat"),
        ("IVF3,Flat", "IndexIVFFlat"),
        ("PCA4,IVF3,Flat", "IndexPreTransform"),
    ],
)
def test_faiss_builds_on_the_gpu_what_it_has_for_one(pretended, index, kind):
    rows = np.repeat(ROWS, 18, axis=0) + np.random.default_rng(1).normal(size=(720, 5)).astype(np.float32)
    graph = fc.knn_graph(rows, 3, index=index, backend="gpu")
    assert pretended.moved == [("held", 0, kind)]
    plain = fc.knn_graph(rows, 3, index=index, backend="cpu")
    assert np.array_equal(graph.indices, plain.indices)
    assert np.array_equal(graph.distances, plain.distances)


def test_what_a_gpu_has_not_is_refused(pretended):
    for index, words in (("hnsw", "runs on the CPU only"), ("HNSW8", "not implemented on GPU"), ("cells", "Allowed")):
        with pytest.raises(BackendError, match=words):
            fc.knn_graph(ROWS, 3, index=index, backend="gpu")
    with pytest.raises(BackendError, match="no inner product"):
        fc.knn_graph(ROWS, 3, "inner_product", index="exact", backend="gpu")
    assert fc.NeighborIndex("inner_product", backend="gpu").fit(ROWS).index_ == "flat"
    with pytest.raises(BackendError, match="no such backend"):
        fc.NeighborIndex(backend="tpu").fit(ROWS)
    pretended.get_num_gpus = lambda: 0
    with pytest.raises(BackendError, match="faiss sees no GPU here"):
        fc.knn_graph(ROWS, 3, index="flat", backend="gpu")


def test_it_is_said_why_the_gpu_is_not_taken(pretended):
    assert "no pass" in gpu.why_not()[0]
    del pretended.StandardGpuResources
    assert "for the CPU" in gpu.why_not()[0]
    with pytest.raises(BackendError, match="for the CPU: pip uninstall faiss-cpu"):
        fc.knn_graph(ROWS, 3, index="flat", backend="gpu")


def test_faiss_on_a_gpu_finds_what_it_finds_on_the_cpu():
    if not gpu.faiss_gpus(faiss()):
        pytest.skip("needs a GPU and faiss-gpu")
    graph = fc.knn_graph(ROWS, 5, index="flat", backend="gpu")
    assert np.array_equal(graph.indices, fc.knn_graph(ROWS, 5, index="flat").indices)
    assert fc.knn_graph(np.repeat(ROWS, 20, axis=0), 5, index="ivf", backend="gpu").recall > 0.9
