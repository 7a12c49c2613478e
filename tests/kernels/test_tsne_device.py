"""Forces by torch and by Triton's kernels, on the CPU where there is no GPU: the latter in Triton's interpreter."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_matrix

from fastclust_kernels import dispatch, passes
from fastclust_kernels.dispatch import Backend, Request, choose
from fastclust_kernels.errors import BackendError, InputError
from fastclust_kernels.tsne import _grid, _torch, attraction, descent, reference, repulsion
from fastclust_kernels.tsne.device import DeviceForces, descend, device_of

CPU = torch.device("cpu")


@pytest.fixture(params=["torch", "triton"])
def kernels(request, monkeypatch):
    """Either set of kernels; Triton's own are interpreted, which must be said before they are imported."""
    if request.param == "triton":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    return request.param


def error(found, exact):
    return np.sqrt(((found - exact) ** 2).sum() / (exact**2).sum())


def cloud(n, span, dimensions=2, seed=0):
    points = np.random.default_rng(seed).normal(size=(n, dimensions))
    return (points * span / np.ptp(points, axis=0).max()).astype(np.float32)


def affinities(n, density=0.1):
    P = random_matrix(n, n, density, format="csr", random_state=0)
    P = (P + P.T).tocsr()
    return P / P.sum()


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_attraction_is_the_oracles(kernels, dimensions):
    """With rows of no neighbours, of a few, and of more than a program takes at once."""
    dense = np.triu(np.random.default_rng(0).random((170, 170)), 1)
    dense[np.random.default_rng(1).random((170, 170)) < 0.9] = 0
    dense[3, 4:] = 0.5
    dense[:, 7] = dense[7] = 0
    P, Y = csr_matrix(dense + dense.T), cloud(170, 20, dimensions)
    exact = reference.attraction(P, Y)
    assert np.diff(P.indptr).max() > 128
    found = attraction(P, Y, backend=kernels)
    assert (found.backend, found.forces.dtype, found.forces.shape) == (kernels, np.float32, (170, dimensions))
    assert error(found.forces, exact) < 1e-6
    assert np.all(found.forces[7] == 0)


@pytest.mark.parametrize("span", [1e-4, 1, 30, 200])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_repulsion_by_a_grid_is_within_one_per_cent(kernels, dimensions, span):
    Y = cloud(300, span, dimensions)
    forces, total = reference.repulsion(Y)
    found = repulsion(Y, method="fft", backend=kernels)
    assert (found.backend, found.method) == (kernels, "fft")
    assert error(found.forces / found.normalization, forces / total) < 0.01
    assert abs(found.normalization / total - 1) < 1e-2 if dimensions == 1 else 1e-4


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 33, 150])
def test_all_pairs_are_the_oracles(kernels, dimensions, n):
    Y = cloud(150, 12, dimensions)[:n]
    forces, total = reference.repulsion(Y)
    found = repulsion(Y, method="exact", backend=kernels)
    assert found.method == "exact"
    assert np.abs(found.forces - forces).max() <= 1e-6 * np.abs(forces).max() + 1e-12
    assert found.normalization == pytest.approx(total, rel=1e-6)


def test_the_fused_kernels_do_what_torchs_do(monkeypatch):
    """Each alone: what is spread, to the last bit, for charges are integers; what is gathered."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    from fastclust_kernels.tsne import _triton

    Y = cloud(200, 9)
    shape = _grid.shape_of(np.ptp(Y, axis=0), Y.min(axis=0))
    grid, points = _torch.grid_of(shape, CPU), torch.from_numpy(Y)
    charges, itself = _torch.spread(points, grid)
    fused, itself_fused = _triton.spread(points, grid)
    assert float(charges.sum()) == pytest.approx(200, rel=1e-6)
    assert torch.allclose(fused, charges, atol=1e-6)
    assert itself_fused == pytest.approx(itself, rel=1e-6)
    fields = torch.randn(2, *charges.shape, generator=torch.Generator().manual_seed(0))
    gathered = [each.gather(points, grid, fields[0], fields[1]) for each in (_torch, _triton)]
    assert torch.allclose(*gathered, atol=1e-5)


def test_charges_are_the_same_bits_in_any_order(kernels):
    Y = cloud(200, 9)
    shape = _grid.shape_of(np.ptp(Y, axis=0), Y.min(axis=0))
    forces = DeviceForces(csr_matrix((200, 200), dtype=np.float32), CPU, kernels=kernels)
    grid, order = forces._grid_of(shape), np.random.default_rng(0).permutation(200)
    one, other = (forces._ops.spread(torch.from_numpy(points), grid)[0] for points in (Y, Y[order]))
    assert torch.equal(one, other)


def test_the_kernels_transforms_are_those_of_the_cpu():
    """They are made in another way: whole transforms of both sides, in place of cosines and sines of one."""
    Y = cloud(3000, 40)
    found = [repulsion(Y, method="fft", backend=backend) for backend in ("numba", "torch")]
    assert error(found[1].forces, found[0].forces.astype(np.float64)) < 1e-5
    assert found[1].normalization == pytest.approx(found[0].normalization, rel=1e-6)


def test_another_order_in_memory_changes_no_attraction(kernels):
    P, Y = affinities(120), cloud(120, 25)
    forces = DeviceForces(P, CPU, kernels=kernels)
    straight = forces.attraction(torch.from_numpy(Y))
    order = torch.randperm(120, generator=torch.Generator().manual_seed(3))
    forces.reorder(order)
    assert torch.equal(forces.attraction(torch.from_numpy(Y)[order]), straight[order])


def test_the_divergence_is_the_oracles(kernels):
    P, Y = affinities(150), cloud(150, 15)
    exact = reference.divergence(P, Y)
    assert DeviceForces(P, CPU, kernels=kernels).divergence(torch.from_numpy(Y)) == pytest.approx(exact, rel=1e-5)


def test_many_entries_are_worked_on_in_parts(monkeypatch):
    P, Y = affinities(300), cloud(300, 20)
    exact = attraction(P, Y, backend="torch").forces
    monkeypatch.setattr(_torch, "_CELLS", 100)
    found = attraction(P, Y, backend="torch").forces
    assert np.array_equal(found, exact)
    forces, total = reference.repulsion(Y)
    pairs = repulsion(Y, method="exact", backend="torch")
    assert error(pairs.forces, forces) < 1e-6
    assert pairs.normalization == pytest.approx(total)


def test_a_step_is_that_of_the_cpu():
    rng = np.random.default_rng(0)
    ours = [rng.normal(size=(300, 2)).astype(np.float32) * 2 for _ in range(5)]
    theirs = [torch.from_numpy(each.copy()) for each in ours]
    numbers = {"exaggeration": 4.0, "normalization": 7.0, "learning_rate": 3.0, "momentum": 0.8}
    total, expected = descend(*theirs, **numbers), descent.descend(*ours, **numbers)
    for found, wanted in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(total.numpy(), expected, rtol=1e-4)


def test_tensors_in_tensors_out():
    Y = torch.from_numpy(cloud(50, 5))
    assert isinstance(repulsion(Y, backend="torch").forces, torch.Tensor)
    assert isinstance(repulsion(Y).forces, torch.Tensor)
    assert isinstance(attraction(affinities(50), Y, backend="torch").forces, torch.Tensor)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(BackendError, match="no CUDA GPU"):
        device_of(None)
    with pytest.raises(BackendError, match="no CUDA GPU"):
        repulsion(cloud(5, 1), backend="torch", device="cuda")
    with pytest.raises(BackendError, match="needs a CUDA GPU, or TRITON_INTERPRET=1"):
        repulsion(cloud(5, 1), backend="triton")
    with pytest.raises(BackendError, match="TRITON_INTERPRET"):
        DeviceForces(affinities(5), CPU, kernels="triton")


def test_what_is_no_device_or_no_kernel_is_refused():
    with pytest.raises(InputError, match="device"):
        device_of("abacus")
    with pytest.raises(InputError, match="kernels"):
        DeviceForces(affinities(5), CPU, kernels="cuda")
    with pytest.raises(InputError, match="method"):
        repulsion(cloud(5, 1, 3), backend="torch", method="barnes_hut")


def test_auto_takes_a_gpu_kernel_only_where_a_pass_is_recorded(monkeypatch):
    fast = Backend("fast", print, ("cuda",), ("float32",))
    here = Request("cuda", "float32", "sm_90")
    with pytest.raises(BackendError, match="no pass against the oracle is recorded on sm_90"):
        choose("op", (fast,), here, "auto")
    assert choose("op", (fast,), here, "fast") is fast
    monkeypatch.setattr(passes, "_all", lambda: frozenset({("op", "fast", "sm_90")}))
    assert choose("op", (fast,), here, "auto") is fast
    with pytest.raises(BackendError):
        choose("op", (fast,), Request("cuda", "float32", "sm_80"), "auto")


def test_recorded_passes_are_of_operations_and_backends_that_exist():
    tables = dispatch.tables()
    for operation, backend, architecture in passes._all():
        assert backend in {row.name for row in tables[operation]}
        assert architecture.startswith("sm_")
