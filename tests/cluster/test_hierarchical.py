import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastclust import HierarchicalKMeans, KMeans
from fastclust.cluster.cells import choose_in_cells, shares_of
from fastclust.cluster.rows import DenseRows
from fastclust.errors import InputError, InputTypeError
from fastclust.progress import listening
from fastclust_kernels.assign._candidates import _largest
from fastclust_kernels.assign.candidates import CandidateSearch, cells_of


def rows(n=6000, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_the_inertia_is_close_to_that_of_the_exact_fit():
    X = rows()
    exact = KMeans(400, random_state=0, max_iter=25).fit(X).inertia_
    model = HierarchicalKMeans(400, random_state=0).fit(X)
    assert model.inertia_ <= 1.01 * exact
    distances = ((X - model.cluster_centers_[model.labels_]) ** 2).sum(axis=1)
    np.testing.assert_allclose(model.inertia_, distances.sum(dtype=np.float64), rtol=1e-5)


def squared(X, points):
    return ((X[:, None].astype(np.float64) - points.astype(np.float64)) ** 2).sum(axis=2)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [[20, 1, 24, 15], [64, 33, 2, 120]])
def test_labels_are_the_nearest_of_the_cells_looked_at(dtype, offset, sizes):
    """Against every distance to the centres of those cells, in float64; the cells' centres come in any order."""
    k = sum(sizes)
    X, centers = (rows(500) + offset).astype(dtype), (rows(k, seed=1) + offset).astype(dtype)
    cell = np.random.default_rng(2).permutation(np.repeat(np.arange(4), sizes)).astype(np.int32)
    search = CandidateSearch(X)
    labels = search.search(centers, cells_of(centers, cell), 2, np.zeros(500, np.int32))
    means = np.stack([centers[cell == g].mean(axis=0) for g in range(4)])
    nearest = np.argsort(squared(X, means), axis=1)[:, :2]
    distances = squared(X, centers)
    allowed = (cell[None] == nearest[:, :1]) | (cell[None] == nearest[:, 1:]) | (np.arange(k) == 0)
    least = np.where(allowed, distances, np.inf).min(axis=1)
    np.testing.assert_allclose(distances[np.arange(500), labels], least, rtol=1e-4 if offset else 1e-6)


@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (9, 3, 2), (2100, 5, 40), (300, 130, 17)])
def test_with_all_cells_labels_are_exact(n, d, k):
    X, centers = rows(n, d), rows(k, d, seed=1)
    cell = (np.arange(k) % min(k, 5)).astype(np.int32)
    labels = CandidateSearch(X).search(centers, cells_of(centers, cell), 99)
    np.testing.assert_array_equal(labels, squared(X, centers).argmin(axis=1))


def test_a_step_finds_the_nearest_candidate_of_centres_that_moved_a_little():
    X, centers = rows(400), rows(48, seed=1)
    search = CandidateSearch(X)
    before = search.search(centers, cells_of(centers, np.zeros(48, np.int32)), 1)
    moved = centers + np.float32(0.01) * rows(48, seed=2)
    labels = search.step(moved, before)
    distances = squared(X, moved)
    assert (labels == distances.argmin(axis=1)).mean() > 0.99
    assert (distances[np.arange(400), labels] <= distances[np.arange(400), before]).all()


def test_rows_whose_scores_overflow_have_their_nearest_centre():
    X = (rows(40) * np.float32(1e20)).astype(np.float32)
    centers = X[:9].copy()
    labels = CandidateSearch(X).search(centers, cells_of(centers, (np.arange(9) % 3).astype(np.int32)), 1)
    np.testing.assert_array_equal(labels, squared(X.astype(np.float64) / 1e20, centers / 1e20).argmin(axis=1))


@given(
    st.lists(st.sampled_from([-3.0, -1.0, 0.0, 1e-30, 1.0, 1.5, 1e30]) | st.floats(-1e6, 1e6, width=32), min_size=1),
    st.data(),
)
def test_the_largest_values_are_those_that_sorting_finds(values, data):
    many = data.draw(st.integers(1, len(values)))
    padded = np.array(values + [-np.inf] * (-len(values) % 16), np.float32)
    places = np.empty(many + 1, np.int32)
    _largest(padded, many, float(max(values)), data.draw(st.sampled_from([1e-30, 1.0, 1e6])), places)
    wanted = np.sort(np.argsort(-padded[: len(values)], kind="stable")[:many])
    np.testing.assert_array_equal(places[:many], wanted)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_certified_share_is_that_of_the_definition(dtype, offset):
    """In float64, over the cells not looked at; where digits are lost to an offset, no more rows than that."""
    rng = np.random.default_rng(0)
    places = 4 * rng.normal(size=(5, 6))
    X = (offset + places[rng.integers(5, size=3000)] + rng.normal(size=(3000, 6))).astype(dtype)
    centers, cell = X[:40].copy(), np.argmin(squared(X[:40], offset + places), axis=1).astype(np.int32)
    search = CandidateSearch(X)
    labels, distances, found = search.finish(centers, cells_of(centers, cell), 2)
    own = np.sqrt(squared(X, centers)[np.arange(3000), labels])
    np.testing.assert_allclose(np.sqrt(distances), own, rtol=1e-6, atol=1e-4 if offset else 1e-9)
    means = np.stack([centers[cell == g].mean(axis=0, dtype=np.float64) for g in range(5)])
    far = np.sqrt(squared(X, means))
    radius = np.array([np.sqrt(squared(centers[cell == g], means[g : g + 1])).max() for g in range(5)])
    np.put_along_axis(far, np.argsort(far, axis=1)[:, :2], np.inf, axis=1)
    wanted = ((far - radius).min(axis=1) > own).mean()
    assert 0.1 < wanted < 1
    assert found == pytest.approx(wanted, abs=0.005)
    assert found <= wanted + (0.001 if offset else 1e-9)


@pytest.mark.parametrize("scale", [1e3, 1e5])
@pytest.mark.parametrize("probes", [6, 25])
def test_certified_labels_are_right_where_digits_cancel(scale, probes):
    """Blobs far apart, each with clusters near each other: scores in float32 cannot tell those apart."""
    rng = np.random.default_rng(0)
    places = scale * rng.normal(size=(30, 8))
    inner = places[rng.integers(30, size=600)] + rng.normal(size=(600, 8))
    X = (inner[rng.integers(600, size=3000)] + 0.1 * rng.normal(size=(3000, 8))).astype(np.float32)
    model = HierarchicalKMeans(300, n_cells=25, n_probes=probes, max_iter=4, random_state=0).fit(X)
    nearest = squared(X, model.cluster_centers_)
    wrong = (nearest[np.arange(3000), model.labels_] > nearest.min(axis=1)).mean()
    assert model.certified_ <= 1 - wrong
    assert model.certified_ > 0.5
    if probes == 25:
        assert wrong == 0


def test_certified_rows_have_their_nearest_centre():
    X = np.concatenate([rows(300) * 0.1 + c for c in (0, 10, 20)])
    model = HierarchicalKMeans(9, n_cells=3, n_probes=1, random_state=0).fit(X)
    assert model.certified_ == 1.0
    assert np.array_equal(model.predict(X), model.labels_)


def test_rows_that_may_have_a_nearer_centre_are_not_certified():
    X = rows(2000, 16)
    model = HierarchicalKMeans(200, n_probes=1, max_iter=2, random_state=0).fit(X)
    wrong = (model.predict(X) != model.labels_).mean()
    assert wrong > 0
    assert model.certified_ <= 1 - wrong


def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads():
    X, before, found = rows(2000), numba.get_num_threads(), []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            found.append(HierarchicalKMeans(50, random_state=0).fit(X).cluster_centers_.tobytes())
    finally:
        numba.set_num_threads(before)
    assert found[0] == found[1]


def test_cells_with_duplicates_and_weights_of_zero_are_split():
    X = np.repeat(rows(40), 20, axis=0)
    weights = np.tile([1.0, 0.0], 400)
    model = HierarchicalKMeans(40, random_state=0).fit(X, sample_weight=weights)
    assert np.isfinite(model.cluster_centers_).all()
    assert model.inertia_ < 0.05 * weights @ (X.var(axis=0).sum() * np.ones(len(X)))


def test_the_shares_add_up_and_fit_into_the_cells():
    shares = shares_of(np.array([5.0, 0.0, 1e9, 3.0]), np.array([10, 4, 7, 0]), 15, 8)
    assert shares.sum() == 15
    assert (shares <= [10, 4, 7, 0]).all()


def test_progress_rises_by_iterations():
    told = []
    with listening(told.append):
        HierarchicalKMeans(60, max_iter=6, tol=0.0, random_state=0).fit(rows(2000))
    fractions = [one.fraction for one in told if one.step == "kmeans"]
    assert fractions == sorted(fractions)
    assert {round(6 * fraction) for fraction in fractions} == set(range(7))


@pytest.mark.parametrize(("cells", "most_missed"), [(6, 6), (20, 6), (40, 12)])
def test_every_cell_keeps_what_it_chose(cells, most_missed):
    """As many blobs as clusters, whatever the number of cells: few are missed, though each cell begins on its own."""
    rng = np.random.default_rng(0)
    blob = np.repeat(np.arange(40), 50)
    X = (100 * rng.normal(size=(40, 6))[blob] + rng.normal(size=(2000, 6))).astype(np.float32)
    chosen = choose_in_cells(DenseRows(X), 40, None, np.random.RandomState(0), cells)
    found = blob[squared(chosen, X).argmin(axis=1)]
    assert len(np.unique(found)) >= 40 - most_missed


def test_what_it_cannot_take_is_refused():
    from scipy.sparse import csr_array

    with pytest.raises(InputTypeError, match="toarray"):
        HierarchicalKMeans(2).fit(csr_array(np.eye(5)))
    with pytest.raises(InputError, match="n_probes"):
        HierarchicalKMeans(2, n_probes=0).fit(rows())
    with pytest.raises(InputError, match="n_clusters"):
        HierarchicalKMeans(7000).fit(rows())
