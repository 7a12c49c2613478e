"""An interrupted optimisation goes on to the same bits, wherever it was interrupted, on either kind of state."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

import fastclust as fc
from fastclust.errors import BackendError, InputError
from fastclust.maps import kept, optimizer
from fastclust.maps.optimizer import Optimizer, Phase
from fastclust_kernels.tsne import _choice

SCHEDULE = [Phase(30, 12, 0.5), Phase(30, 1, 0.8)]
X = np.random.default_rng(0).normal(size=(300, 5))
CPU = torch.device("cpu")


@pytest.fixture(name="P")
def _affinities():
    from fastclust.maps.affinities import affinities_of

    return affinities_of(fc.TSNE(perplexity=10), fc.knn_graph(X, 30))


def start(n_components):
    return np.random.default_rng(1).normal(scale=1e-4, size=(300, n_components))


@pytest.fixture(autouse=True)
def _moved(monkeypatch):
    """So few rows are put in another order too, at a few iterations."""
    monkeypatch.setattr(optimizer, "_WORTH_ORDER", 100)
    monkeypatch.setattr(optimizer, "_REORDER", frozenset((0, 20, 40)))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with optimizer.threads(1):  # several would wait for each other longer than they work
        yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("device", [None, CPU], ids=["host", "device"])
@pytest.mark.parametrize("n_components", [1, 2, 3])
@pytest.mark.parametrize("fixed", [None, np.arange(300) % 7 == 0], ids=["free", "fixed"])
def test_interrupted_anywhere_it_goes_on_to_the_same_bits(P, tmp_path, device, n_components, fixed):
    """Before the first iteration, in both phases, where one ends, where points move in memory, and at the end."""
    params = {"schedule": SCHEDULE, "device": device, "fixed": fixed}
    whole = Optimizer(P, start(n_components), **params).run()
    assert whole.iterations == 60
    assert np.isfinite(whole.points).all()
    if fixed is not None:
        assert np.array_equal(whole.points[fixed], start(n_components)[fixed].astype(np.float32))
    # A device keeps its state in the same places, and takes seconds.
    for stop in (0, 1, 19, 20, 21, 29, 30, 31, 45, 59, 60) if device is None else (0, 20, 21, 30, 45, 60):
        path = tmp_path / f"{stop}.safetensors"
        first = Optimizer(P, start(n_components), checkpoint=path, **params)
        while first.iteration < stop:
            first.step()
        first.save(path)
        again = Optimizer(P, start(n_components), checkpoint=path, **params).run()
        assert again.resumed_from == stop
        assert again.points.tobytes() == whole.points.tobytes()
        assert again.divergence == whole.divergence


def test_interrupted_on_a_grid_it_goes_on_to_the_same_bits(P, tmp_path, monkeypatch):
    """All pairs are quicker for so few; many points go through a grid, which keeps kernels and buffers."""
    monkeypatch.setattr(_choice, "_PAIR", 1e9)
    params = {"schedule": SCHEDULE, "learning_rate": 60.0}  # the grid grows several times
    whole = Optimizer(P, start(2), **params).run()
    for stop in (1, 20, 29, 31, 45, 59):
        path = tmp_path / f"{stop}.safetensors"
        first = Optimizer(P, start(2), checkpoint=path, **params)
        while first.iteration < stop:
            first.step()
        assert first._state._forces.method == "fft"
        first.save(path)
        again = Optimizer(P, start(2), checkpoint=path, **params).run()
        assert (again.resumed_from, again.points.tobytes()) == (stop, whole.points.tobytes())
        assert again.divergence == whole.divergence


@pytest.mark.parametrize("n_components", [1, 2])
def test_a_whole_fit_has_the_same_bits_whatever_the_number_of_threads(n_components):
    """Of enough rows for several tasks of each kernel: components, neighbours, affinities, grid, slices and steps."""
    rows = np.random.default_rng(5).normal(size=(5000, 20)).astype(np.float32)
    params = {"perplexity": 5, "pca_components": 6, "max_iter": 45, "early_exaggeration_iter": 25, "random_state": 0}
    found = []
    for threads in (1, 2):
        with optimizer.threads(threads):
            model = fc.TSNE(n_components, n_jobs=threads, **params).fit(rows)
        found.append((model.embedding_.tobytes(), model.kl_divergence_))
    assert found[0] == found[1]


@pytest.mark.parametrize("change", ["start", "schedule", "learning_rate", "P", "device"])
def test_a_checkpoint_of_another_fit_is_refused(P, tmp_path, change):
    path = tmp_path / "state.safetensors"
    params = {"schedule": SCHEDULE, "checkpoint": path}
    Optimizer(P, start(2), **params).save(path)
    other, begun = P, start(2)
    if change == "start":
        begun[5, 0] += 1
    elif change == "P":
        other = (P + P.T) * 0.5
        other.data[3] *= 2
    else:
        params[change] = {"schedule": SCHEDULE[:1], "learning_rate": 7.0, "device": CPU}[change]
    with pytest.raises(InputError, match="Delete it"):
        Optimizer(other, begun, **params)


def test_the_checkpoint_of_70000_rows_is_below_4_mb(tmp_path):
    n = 70_000
    ring = csr_matrix((np.full(n, 1 / n, np.float32), (np.arange(n), np.roll(np.arange(n), 1))), shape=(n, n))
    path = tmp_path / "state.safetensors"
    for n_components in (2, 3):
        Optimizer(ring, np.zeros((n, n_components)), schedule=SCHEDULE, checkpoint=path).save(path)
        assert path.stat().st_size < 4e6
        path.unlink()


def test_checkpoints_are_written_at_their_iterations(P, tmp_path):
    path, seen = tmp_path / "state.safetensors", []

    def look(iteration, divergence, points):
        if path.exists():
            seen.append((iteration, path.stat().st_mtime_ns))
        return iteration == 50

    Optimizer(P, start(2), schedule=SCHEDULE, checkpoint=path, checkpoint_every=20, checkpoint_seconds=0).run(look, 10)
    assert [iteration for iteration, _ in seen] == [20, 30, 40, 50]
    assert len({when for _, when in seen}) == 2


class StoppedError(Exception):
    """What a callback raises to end a fit."""


def stop_at(wanted):
    def stop(iteration, divergence, points):
        if iteration == wanted:
            raise StoppedError

    return stop


@pytest.mark.parametrize("n_components", [2, 3])
def test_an_interrupted_fit_goes_on_to_the_same_bits(monkeypatch, tmp_path, n_components):
    """Through the estimator, killed in the late phase, with the defaults' schedule."""
    made = optimizer.Optimizer.__init__
    monkeypatch.setattr(made, "__kwdefaults__", made.__kwdefaults__ | {"checkpoint_seconds": 0})
    params = {"n_components": n_components, "perplexity": 10, "max_iter": 400, "random_state": 0}
    whole = fc.TSNE(**params).fit(X)
    path = tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        fc.TSNE(checkpoint=path, callbacks=stop_at(330), callbacks_every_iters=330, **params).fit(X)
    again = fc.TSNE(checkpoint=path, **params).fit(X)
    assert (whole.resumed_from_, again.resumed_from_) == (0, 300)
    assert again.embedding_.tobytes() == whole.embedding_.tobytes()


def test_neighbours_that_may_differ_are_kept_until_the_map_is_drawn(monkeypatch, tmp_path):
    path = tmp_path / "state.safetensors"
    params = {"perplexity": 10, "max_iter": 40, "random_state": 0, "neighbors": "hnsw", "checkpoint": path}
    with pytest.raises(StoppedError):
        fc.TSNE(callbacks=stop_at(20), callbacks_every_iters=20, **params).fit(X)
    assert len(list(tmp_path.glob("*.graph"))) == 1
    made = []
    monkeypatch.setattr(kept, "knn_graph", lambda *parameters: made.append(parameters))
    fc.TSNE(**params).fit(X)
    assert not made
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_needs_a_seed(tmp_path):
    with pytest.raises(InputError, match="random_state"):
        fc.TSNE(perplexity=10, checkpoint=tmp_path / "state").fit(X)


def test_the_gpus_arithmetic_draws_the_same_kind_of_map():
    """On the CPU, by request; the sums are in another order, so bits differ.

    Roundings grow with each iteration: after both phases of a short schedule the maps are still the same, after 300
    iterations they are two of many, whose divergences are up to a tenth apart.
    """
    params = {"perplexity": 10, "random_state": 0}
    ours, theirs = (
        [
            fc.TSNE(max_iter=iterations, early_exaggeration_iter=early, **more, **params).fit(X)
            for early, iterations in ((12, 60), (250, 300))
        ]
        for more in ({}, {"backend": "gpu", "device": "cpu"})
    )
    assert (ours[0].backend_, theirs[0].backend_) == ("cpu", "gpu")
    size = np.abs(ours[0].embedding_).max()
    np.testing.assert_allclose(theirs[0].embedding_, ours[0].embedding_, atol=1e-4 * size)
    assert theirs[1].kl_divergence_ == pytest.approx(ours[1].kl_divergence_, rel=0.1)
    again = fc.TSNE(max_iter=300, backend="gpu", device="cpu", **params).fit(X)
    assert np.array_equal(again.embedding_, theirs[1].embedding_)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_refused_before_any_work():
    with pytest.raises(BackendError, match=r"no CUDA GPU here. Allowed: backend='cpu'"):
        fc.TSNE(backend="gpu").fit(X)


def test_auto_takes_no_gpu_without_a_recorded_pass(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    assert fc.TSNE(perplexity=10, max_iter=5, random_state=0).fit(X).backend_ == "cpu"


@pytest.mark.parametrize("backend", ["auto", "cpu", "opentsne"])
def test_a_device_is_for_the_gpu_backend(backend):
    with pytest.raises(BackendError, match="backend='gpu'"):
        fc.TSNE(backend=backend, device="cpu").fit(X)
