import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.cluster import KMeans as TheirKMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

from fastclust import KMeans, MahalanobisMetric
from fastclust.errors import BackendError, DataError, InputError, OperationCancelledError
from fastclust.progress import listening


def blobs(n=600, d=5, k=6, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(scale=8, size=(k, d))[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(dtype)


def inertia_of(X, model):
    own = model.cluster_centers_[model.labels_].astype(np.float64)
    return ((X.astype(np.float64) - own) ** 2).sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d", "k"), [(600, 5, 6), (2000, 30, 40), (50, 1, 50), (300, 3, 1)])
def test_a_fit_ends_where_scikit_learns_does(n, d, k, dtype):
    X = blobs(n, d, k, dtype)
    start = X[np.random.default_rng(1).choice(n, k, replace=False)]
    ours = KMeans(k, init=start, n_init=1).fit(X)
    theirs = TheirKMeans(k, init=start, n_init=1).fit(X)
    assert ours.inertia_ <= theirs.inertia_ * (1 + 2e-5) + 1e-9
    assert abs(ours.n_iter_ - theirs.n_iter_) <= 1
    assert ours.cluster_centers_.dtype == dtype
    np.testing.assert_allclose(ours.inertia_, inertia_of(X, ours), rtol=1e-5, atol=1e-9)


def test_labels_belong_to_the_centres_when_iterations_run_out():
    X = blobs()
    model = KMeans(6, init=X[:6], n_init=1, max_iter=1).fit(X)
    assert np.array_equal(model.predict(X), model.labels_)
    np.testing.assert_allclose(model.inertia_, inertia_of(X, model), rtol=1e-10)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 30), d=st.integers(1, 4), levels=st.integers(1, 3), seed=st.integers(0, 999), data=st.data())
def test_duplicates_and_more_clusters_than_distinct_rows(n, d, levels, seed, data):
    X = np.random.default_rng(seed).integers(0, levels, (n, d)).astype(float)
    k = data.draw(st.integers(1, n))
    model = _quiet_fit(KMeans(k, random_state=seed, n_init=1), X)
    assert np.isfinite(model.cluster_centers_).all()
    assert model.labels_.min() >= 0
    np.testing.assert_allclose(model.inertia_, inertia_of(X, model), atol=1e-9)


def _quiet_fit(model, X, **more):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, **more)


def test_an_empty_cluster_takes_the_farthest_row():
    X = np.array([[0.0], [0.1], [0.2], [10.0]])
    model = KMeans(2, init=np.array([[0.0], [1e6]]), n_init=1).fit(X)
    assert model.labels_.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads(dtype):
    X = blobs(3000, 12, 20, dtype)
    before = numba.get_num_threads()
    found = []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            model = KMeans(20, random_state=3).fit(X)
            found.append((model.cluster_centers_.tobytes(), model.labels_.tobytes(), model.inertia_))
    finally:
        numba.set_num_threads(before)
    assert found[0] == found[1]


def test_weights_count_like_copies():
    X = blobs(200)
    weights = np.random.default_rng(0).integers(1, 4, 200)
    start = X[:6]
    weighted = KMeans(6, init=start, n_init=1).fit(X, sample_weight=weights)
    copied = KMeans(6, init=start, n_init=1).fit(np.repeat(X, weights, axis=0))
    np.testing.assert_allclose(weighted.cluster_centers_, copied.cluster_centers_, rtol=1e-10)
    np.testing.assert_allclose(weighted.inertia_, copied.inertia_, rtol=1e-10)
    np.testing.assert_allclose(weighted.score(X, sample_weight=weights), -weighted.inertia_, rtol=1e-10)


def test_plus_plus_starts_are_as_good_as_scikit_learns():
    X = blobs(1500, 8, 25)
    ours = np.median([KMeans(25, random_state=seed, max_iter=1).fit(X).inertia_ for seed in range(9)])
    theirs = np.median(
        [_quiet_fit(TheirKMeans(25, random_state=s, max_iter=1, n_init=1), X).inertia_ for s in range(9)]
    )
    assert ours <= 1.1 * theirs


def test_cosine_clusters_directions():
    rng = np.random.default_rng(0)
    directions = np.eye(3)[rng.integers(3, size=300)] + 0.05 * rng.normal(size=(300, 3))
    X = directions * rng.uniform(0.1, 50, (300, 1))
    model = KMeans(3, metric="cosine", random_state=0).fit(X)
    np.testing.assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1, rtol=1e-6)
    assert len(np.unique(directions.argmax(axis=1) * 3 + model.labels_)) == 3
    assert np.array_equal(model.predict(7 * X), model.labels_)


def test_a_mahalanobis_metric_decides_where_the_raw_one_would_not():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 2)) * [1, 200]
    X[:200, 0] += 10
    truth = np.repeat([0, 1], 200)
    whitened = KMeans(2, metric=MahalanobisMetric.from_covariance(np.diag([1.0, 200.0**2])), random_state=0).fit(X)
    assert max((whitened.labels_ == truth).mean(), (whitened.labels_ != truth).mean()) > 0.99
    first = whitened.labels_[0]
    np.testing.assert_allclose(whitened.cluster_centers_[first], X[whitened.labels_ == first].mean(axis=0))


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "mahalanobis"])
def test_a_saved_model_predicts_as_before(tmp_path, metric):
    X = blobs() + 3
    if metric == "mahalanobis":
        metric = MahalanobisMetric().fit(X)
    model = KMeans(4, metric=metric, random_state=0).fit(X)
    model.save(tmp_path / "k.safetensors")
    loaded = KMeans.load(tmp_path / "k.safetensors")
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert np.array_equal(loaded.transform(X), model.transform(X))
    assert loaded.inertia_ == model.inertia_


def test_loading_something_else_says_so(tmp_path):
    (tmp_path / "k.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(DataError, match="needed: kmeans"):
        KMeans.load(tmp_path / "k.safetensors")


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"n_clusters": 11}, "n_clusters"),
        ({"n_clusters": 0}, "n_clusters"),
        ({"n_clusters": 2.5}, "n_clusters"),
        ({"max_iter": 0}, "max_iter"),
        ({"tol": -1}, "tol"),
        ({"tol": float("nan")}, "tol"),
        ({"n_init": 0}, "n_init"),
        ({"init": "best"}, "init"),
        ({"init": np.zeros((3, 9))}, "init"),
        ({"metric": "manhattan"}, "metric"),
        ({"algorithm": "magic"}, "algorithm"),
    ],
)
def test_bad_parameters_are_named(params, field):
    with pytest.raises(InputError) as caught:
        KMeans(**{"n_clusters": 3, **params}).fit(np.random.default_rng(0).normal(size=(10, 2)))
    assert caught.value.field == field


@pytest.mark.parametrize("params", [{"arithmetic": "half"}, {"backend": "cuda"}])
def test_what_cannot_run_is_refused_and_not_replaced(params):
    with pytest.raises(BackendError, match="Allowed"):
        KMeans(2, **params).fit(np.zeros((5, 2)) + np.arange(5)[:, None])


def test_a_listener_can_stop_a_fit():
    def stop(_progress):
        raise OperationCancelledError("asked to stop")

    with listening(stop), pytest.raises(OperationCancelledError):
        KMeans(5, random_state=0).fit(blobs())


def test_scikit_learns_checks_fail_nowhere_that_its_own_kmeans_passes():
    def failures(model):
        found = check_estimator(model, on_fail=None)
        return {entry["check_name"] for entry in found if entry["status"] == "failed"}

    ours, theirs = failures(KMeans(n_clusters=3)), failures(TheirKMeans(n_clusters=3))
    assert ours <= theirs
    assert len(ours) <= 2


def test_a_fit_needs_no_faiss_torch_or_opentsne():
    code = (
        "import sys, numpy as np, fastclust as fc\n"
        "fc.KMeans(2).fit(np.random.default_rng(0).normal(size=(20, 2)))\n"
        "print({'torch', 'faiss', 'openTSNE'} & set(sys.modules) or 'none')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"


@pytest.mark.parametrize("init", ["k-means++", "cells", "k-means||"])
def test_starts_for_many_clusters_are_as_good_as_scikit_learns(init):
    X, _ = make_blobs(6000, n_features=8, centers=300, cluster_std=0.5, random_state=0)
    ours = [KMeans(300, init=init, n_init=1, random_state=seed).fit(X).inertia_ for seed in range(3)]
    theirs = [TheirKMeans(300, n_init=1, random_state=seed).fit(X).inertia_ for seed in range(3)]
    assert np.mean(ours) <= 1.01 * np.mean(theirs)


def test_the_progress_of_a_start_in_cells_is_its_own_and_never_goes_back():
    told = []
    with listening(lambda one: told.append((one.step, one.fraction))):
        KMeans(40, init="cells", n_init=1, max_iter=5, tol=0).fit(np.random.default_rng(0).normal(size=(3000, 4)))
    steps = [step for step, _ in told]
    assert steps == sorted(steps, key=["seed", "kmeans"].index)
    for step in ("seed", "kmeans"):
        fractions = [fraction for one, fraction in told if one == step]
        assert fractions == sorted(fractions)
    assert steps.count("kmeans") == 5


def test_auto_says_which_start_it_took():
    X = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32)
    assert KMeans(5, max_iter=1).fit(X).init_ == "k-means++"
    wide = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)
    assert KMeans(300, max_iter=1).fit(wide).init_ == "cells"
    assert KMeans(300, max_iter=1).fit(csr_array(wide)).init_ == "k-means||"


def test_a_start_in_cells_is_refused_where_rows_are_sparse():
    with pytest.raises(InputError, match="cells, for rows"):
        KMeans(2, init="cells", n_init=1).fit(csr_array(np.eye(5)))


@pytest.mark.parametrize("init", ["cells", "k-means||"])
def test_a_start_for_many_clusters_survives_duplicates_and_weights_of_zero(init):
    X = np.repeat(np.arange(6.0), 50)[:, None]
    weights = np.repeat([1.0, 1.0, 1.0, 1.0, 1.0, 0.0], 50)
    model = KMeans(5, init=init, n_init=1, random_state=0).fit(X, sample_weight=weights)
    assert model.inertia_ == 0
    with pytest.warns(ConvergenceWarning):
        assert KMeans(9, init=init, n_init=1, random_state=0).fit(X).inertia_ == 0
