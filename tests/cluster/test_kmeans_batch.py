"""k-means of many problems beside k-means of each."""

import numpy as np
import pytest
import torch

import fastclust as fc
from fastclust.errors import InputError
from fastclust_kernels.assign.reference import assign as oracle


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")


def problems(b=3, n=90, d=4, k=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(b, n, d)) * np.arange(1, b + 1)[:, None, None]
    X += 6 * rng.normal(size=(b, k, d))[np.arange(b)[:, None], rng.integers(k, size=(b, n))]
    return X.astype(np.float32)


@pytest.mark.parametrize("backend", ["numba", "triton"])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_problem_ends_as_it_does_alone(backend, weighted):
    X = problems()
    weights = np.random.default_rng(1).random(X.shape[:2]) if weighted else None
    start = X[:, :5].copy()
    fit = fc.kmeans_batch(X, start, sample_weight=weights, backend=backend)
    assert (fit.backend, fit.centers.dtype, fit.labels.dtype) == (backend, np.float32, np.int32)
    assert len(set(fit.n_iter.tolist())) > 1
    for problem, x in enumerate(X):
        each = None if weights is None else weights[problem]
        alone = fc.KMeans(5, init=start[problem], backend="numba").fit(x, sample_weight=each)
        assert np.array_equal(fit.labels[problem], alone.labels_)
        np.testing.assert_allclose(fit.centers[problem], alone.cluster_centers_, rtol=1e-5, atol=1e-5)
        assert fit.inertia[problem] == pytest.approx(alone.inertia_, rel=1e-6)


@pytest.mark.parametrize(
    "view",
    [
        lambda X: X.transpose(0, 1).contiguous().transpose(0, 1),  # the parts of rows that a product quantizer codes
        lambda X: torch.cat([X, X], dim=2)[..., :4],
        lambda X: X[:1].expand(3, -1, -1),
    ],
)
def test_rows_may_be_a_view_of_any_strides(view):
    rows = view(torch.from_numpy(problems(3, 40)))
    assert not rows.is_contiguous()
    fits = [fc.kmeans_batch(X, X[:, :3].contiguous(), max_iter=3, backend="triton") for X in (rows, rows.contiguous())]
    for name in ("centers", "labels", "inertia", "n_iter"):
        assert torch.equal(getattr(fits[0], name), getattr(fits[1], name)), name


def test_a_problem_does_not_depend_on_the_others():
    X = problems()
    whole = fc.kmeans_batch(X, X[:, :5], backend="numba")
    for problem in range(3):
        part = X[problem : problem + 1]
        one = fc.kmeans_batch(part, part[:, :5], backend="numba")
        assert one.centers[0].tobytes() == whole.centers[problem].tobytes()
        assert one.n_iter[0] == whole.n_iter[problem]


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_labels_belong_to_the_centers_and_an_empty_cluster_stays(backend):
    X = torch.from_numpy(problems(2, 30, 3, 2))
    start = torch.cat([X[:, :2], torch.full((2, 1, 3), 1e4)], dim=1)
    fit = fc.kmeans_batch(X if backend == "triton" else X.numpy(), start, max_iter=2, backend=backend)
    centers, labels = np.asarray(fit.centers), np.asarray(fit.labels)
    assert (centers[:, 2] == 1e4).all()
    assert isinstance(fit.centers, torch.Tensor) == (backend == "triton")
    for problem in range(2):
        expected, least = oracle(X[problem].numpy(), centers[problem])
        assert np.array_equal(labels[problem], expected)
        assert float(fit.inertia[problem]) == pytest.approx(least.sum())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_rows_of_other_kinds_are_taken_with_their_own_rows_for_centers(kind):
    X = torch.from_numpy(problems(2, 30, 3, 2)).to(kind)
    fit = fc.kmeans_batch(X, X[:, :2], backend="triton")
    assert fit.centers.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    for problem in range(2):
        expected, least = oracle(X[problem].double().numpy(), fit.centers[problem].double().numpy())
        assert np.array_equal(fit.labels[problem], expected)
        assert float(fit.inertia[problem]) == pytest.approx(least.sum())


def test_what_cannot_be_is_refused():
    X = problems(2, 10)
    for named, words in (
        ({"max_iter": 0}, "max_iter"),
        ({"tol": -1.0}, "tol"),
        ({"sample_weight": -np.ones((2, 10))}, "none negative"),
        ({"sample_weight": np.ones(10)}, "none negative"),
    ):
        with pytest.raises(InputError, match=words):
            fc.kmeans_batch(X, X[:, :2], **named)
    with pytest.raises(InputError, match="three dimensions"):
        fc.kmeans_batch(X[0], X[:, :2])
    with pytest.raises(InputError, match="nan"):
        fc.kmeans_batch(np.where(X > 3, np.nan, X), X[:, :2])
