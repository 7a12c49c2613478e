import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.utils.estimator_checks import check_estimator

from fastclust import KMeans, MiniBatchKMeans
from fastclust.errors import InputError, OperationCancelledError
from fastclust.progress import listening


def blobs(n=3000, k=8, seed=0):
    return make_blobs(n, n_features=6, centers=k, random_state=seed)[0].astype(np.float32)


def test_batches_end_close_to_the_exact_fit():
    X = blobs()
    exact = KMeans(8, n_init=3, random_state=0).fit(X).inertia_
    assert MiniBatchKMeans(8, batch_size=256, n_init=3, random_state=0).fit(X).inertia_ < 1.05 * exact


def test_centres_are_the_means_of_all_rows_that_came_to_them():
    """Against a loop over the definition, batch by batch, in float64."""
    X = blobs().astype(np.float64)
    start = X[:5].copy()
    model = MiniBatchKMeans(5, init=start, n_init=1, reassignment_ratio=0.0)
    centers, counts = start.copy(), np.zeros(5)
    for batch in np.array_split(X, 9):
        model.partial_fit(batch)
        labels = ((batch[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
        for c in range(5):
            mine = batch[labels == c]
            if len(mine):
                centers[c] = (centers[c] * counts[c] + mine.sum(axis=0)) / (counts[c] + len(mine))
                counts[c] += len(mine)
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-10)
    assert model.n_steps_ == 9


def test_the_same_seed_gives_the_same_bits():
    first, second = (MiniBatchKMeans(6, batch_size=100, random_state=3).fit(blobs()) for _ in range(2))
    assert first.cluster_centers_.tobytes() == second.cluster_centers_.tobytes()


def test_cosine_centres_have_length_one_and_a_saved_model_predicts_as_before(tmp_path):
    X = blobs()
    model = MiniBatchKMeans(4, metric="cosine", random_state=0).fit(X)
    np.testing.assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1, rtol=1e-5)
    model.save(tmp_path / "model.safetensors")
    assert np.array_equal(MiniBatchKMeans.load(tmp_path / "model.safetensors").predict(X), model.labels_)


def test_rows_of_weight_zero_are_never_drawn():
    X = np.concatenate([blobs(500), np.full((500, 6), 1e6, np.float32)])
    weights = np.repeat([1.0, 0.0], 500)
    model = MiniBatchKMeans(4, batch_size=64, random_state=0).fit(X, sample_weight=weights)
    assert np.abs(model.cluster_centers_).max() < 100


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"max_no_improvement": -1}, "max_no_improvement"),
        ({"reassignment_ratio": -0.1}, "reassignment_ratio"),
        ({"compute_labels": "yes"}, "compute_labels"),
        ({"init_size": 2.5}, "init_size"),
        ({"n_clusters": 11}, "n_clusters"),
    ],
)
def test_bad_parameters_are_named(params, field):
    with pytest.raises(InputError) as caught:
        MiniBatchKMeans(**{"n_clusters": 3, **params}).fit(np.random.default_rng(0).normal(size=(10, 2)))
    assert caught.value.field == field


def test_a_listener_can_stop_a_fit():
    def stop(_progress):
        raise OperationCancelledError("asked to stop")

    with listening(stop), pytest.raises(OperationCancelledError):
        MiniBatchKMeans(5, random_state=0).fit(blobs())


def test_scikit_learns_checks_pass():
    found = check_estimator(MiniBatchKMeans(n_clusters=3), on_fail=None)
    assert len([entry for entry in found if entry["status"] == "failed"]) <= 2
