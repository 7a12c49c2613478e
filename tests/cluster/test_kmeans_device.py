"""k-means on Triton's kernels, in its interpreter where there is no GPU, beside k-means on the CPU."""

import sys

import numpy as np
import pytest
import torch

import fastclust as fc
from fastclust.cluster import device_rows
from fastclust.errors import BackendError, InputError
from fastclust_kernels.assign.reference import assign as oracle
from fastclust_kernels.assign.screening import ARITHMETIC


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")


def blobs(n=130, d=5, k=4, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(scale=6, size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


@pytest.mark.parametrize(
    ("metric", "weighted"), [("euclidean", False), ("euclidean", True), ("cosine", True), ("mahalanobis", False)]
)
def test_a_fit_is_that_of_the_cpu(metric, weighted):
    X = blobs()
    weights = np.random.default_rng(1).random(len(X)) if weighted else None
    by = fc.MahalanobisMetric().fit(X) if metric == "mahalanobis" else metric
    named = {"n_clusters": 6, "metric": by, "init": X[:6].copy(), "random_state": 0}
    ours = fc.KMeans(backend="triton", **named).fit(X, sample_weight=weights)
    theirs = fc.KMeans(backend="numba", **named).fit(X, sample_weight=weights)
    assert (ours.backend_, ours.algorithm_) == ("triton", "lloyd")
    assert np.array_equal(ours.labels_, theirs.labels_)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-5, atol=1e-5)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-6)
    assert 0 < ours.certified_fraction_ <= 1
    assert not hasattr(theirs, "certified_fraction_")
    assert np.array_equal(ours.predict(X[:40]), ours.labels_[:40])
    np.testing.assert_allclose(ours.transform(X[:9]), theirs.transform(X[:9]), rtol=1e-4)


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
def test_starts_and_empty_clusters(init):
    """More clusters than distinct rows but one: some are emptied and filled again."""
    X = np.repeat(blobs(12), 10, axis=0)
    model = fc.KMeans(11, init=init, n_init=1, backend="triton", random_state=3, arithmetic="certified").fit(X)
    assert len(np.unique(model.labels_)) == 11
    labels, least = oracle(X, model.cluster_centers_)
    assert model.inertia_ == pytest.approx(least.sum(), abs=1e-9)
    assert model.score(X) == pytest.approx(-least.sum(), abs=1e-9)
    assert labels.shape == model.labels_.shape


def test_half_arithmetic_is_enough_for_clusters_that_lie_apart():
    X = blobs()
    named = {"n_clusters": 4, "init": X[:4].copy(), "backend": "triton"}
    half, exact = (fc.KMeans(arithmetic=each, **named).fit(X) for each in ("half", "certified"))
    assert (half.labels_ == exact.labels_).mean() > 0.98
    assert half.inertia_ == pytest.approx(exact.inertia_, rel=1e-2)
    assert 0 < half.certified_fraction_ <= 1


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "mahalanobis"])
def test_what_is_asked_of_a_gpu_is_asked_of_its_rows(metric, monkeypatch):
    """Rows in another space too are screened only, or repaired, and added up as was asked."""
    # That CUDA C++ needs a GPU is tested elsewhere.
    monkeypatch.setattr(device_rows, "choose", lambda *_: None)
    X = blobs().astype(np.float32)
    by = fc.MahalanobisMetric().fit(X) if metric == "mahalanobis" else metric
    for arithmetic, screening in ARITHMETIC.items():
        for backend in ("triton", "cuda"):
            rows, _ = fc.KMeans(4, metric=by, backend=backend, arithmetic=arithmetic)._inside(X, reset=True)
            assert (rows.backend, rows.keep_nearest().screening) == (backend, screening)


def test_half_arithmetic_has_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match="arithmetic='certified'"):
        fc.KMeans(4, backend="triton", arithmetic="half", random_state=0).fit(blobs(), checkpoint=tmp_path / "c")


def test_half_precision_rows_and_the_same_bits_again():
    X = torch.from_numpy(blobs()).half()
    one, other = (fc.KMeans(4, init=X[:4].float().numpy(), backend="triton").fit(X.double().numpy()) for _ in range(2))
    assert one.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()


def test_a_fit_goes_on_from_a_checkpoint(tmp_path):
    X = blobs()
    named = {"n_clusters": 7, "init": "random", "n_init": 1, "backend": "triton", "random_state": 1}
    fc.KMeans(max_iter=2, **named).fit(X)
    whole = fc.KMeans(**named).fit(X, checkpoint=tmp_path / "c")
    again = fc.KMeans(**named).fit(X, checkpoint=tmp_path / "c")
    assert np.array_equal(whole.labels_, again.labels_)
    assert whole.cluster_centers_.tobytes() == again.cluster_centers_.tobytes()


def test_what_cannot_be_is_refused(monkeypatch):
    X = blobs(30)
    with pytest.raises(BackendError, match="elkan"):
        fc.KMeans(3, algorithm="elkan", backend="triton").fit(X)
    with pytest.raises(BackendError, match="arithmetic='double'"):
        fc.KMeans(3, arithmetic="double", backend="triton").fit(X)
    with pytest.raises(BackendError, match="arithmetic='tf32': backend='numba'"):
        fc.KMeans(3, arithmetic="tf32", backend="numba").fit(X)
    with pytest.raises(BackendError, match="arithmetic='certified': backend='auto'"):
        fc.KMeans(3, arithmetic="certified").fit(X)
    with pytest.raises(InputError, match="nan"):
        fc.KMeans(3, backend="triton").fit(np.where(X > 3, np.nan, X))
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    monkeypatch.delenv("TRITON_INTERPRET")
    for call in (
        lambda: fc.KMeans(3, backend="triton").fit(X),
        lambda: fc.mahalanobis(X, backend="triton"),
        lambda: fc.MahalanobisMetric().fit(X).kneighbors(X, backend="triton"),
    ):
        with pytest.raises(BackendError, match="needs a CUDA GPU, or TRITON_INTERPRET=1"):
            call()


@pytest.mark.parametrize(
    "call",
    [
        lambda X: fc.KMeans(3, backend="triton").fit(X),
        lambda X: fc.mahalanobis(X, backend="triton"),
        lambda X: fc.MahalanobisMetric().fit(X).kneighbors(X, backend="triton"),
    ],
)
def test_without_triton_it_is_said_that_it_is_not_installed(call, monkeypatch):
    """Torch for the CPU brings no Triton: what imports it is imported anew, and in vain."""
    importers = ("._triton", "._triton_exact", ".device", ".device_rows")
    for name in list(sys.modules):
        if name.partition(".")[0] == "triton" or name.endswith(importers):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(BackendError, match="triton is not installed"):
        call(blobs(30))


def test_metrics_run_on_it_and_tensors_come_back_as_tensors():
    X = torch.from_numpy(blobs(40))
    metric = fc.MahalanobisMetric().fit(X)
    found, there = (metric.pairwise(X, backend=backend) for backend in ("numba", "triton"))
    assert isinstance(there, torch.Tensor)
    np.testing.assert_allclose(there, found, rtol=4e-6)
    out = torch.full((40, 40), torch.nan)
    assert fc.mahalanobis(X, cov=np.eye(5), backend="triton", out=out) is out
    np.testing.assert_allclose(out, torch.cdist(X.double(), X.double()), rtol=1e-6, atol=1e-6)
    ours, theirs = (metric.kneighbors(X, n_neighbors=3, backend=backend) for backend in ("triton", "numba"))
    assert torch.equal(ours[1], theirs[1])
    np.testing.assert_allclose(ours[0], theirs[0], rtol=4e-6)
    means, covariances = X[:3].double().numpy(), np.stack([np.eye(5) * scale for scale in (1, 2, 3)])
    np.testing.assert_allclose(
        fc.mahalanobis_to_components(X, means, covariances, backend="triton"),
        fc.mahalanobis_to_components(X, means, covariances),
        rtol=1e-5,
        atol=1e-6,
    )
