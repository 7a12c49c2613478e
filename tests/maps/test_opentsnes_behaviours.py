"""What openTSNE's own tests ask of a t-SNE estimator, asked of ours; opentsnes_tests.py says which test is where."""

import inspect
import pickle

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

import fastclust as fc
from fastclust.errors import InputError, PreconditionError
from fastclust.maps.affinities import affinities_of, neighbors_wanted
from fastclust_kernels.tsne import attraction, reference

FIGURES, SPECIES = load_iris(return_X_y=True)


def two_groups(n=100, seed=0):
    rng = np.random.default_rng(seed)
    return np.vstack([rng.normal(1, 1, (n, 4)), rng.normal(-1, 1, (n, 4))]), rng.normal(size=(25, 4))


def accuracy(points, labels, new=None, new_labels=None):
    model = KNeighborsClassifier(n_neighbors=10).fit(points, labels)
    return model.score(points if new is None else new, labels if new is None else new_labels)


@pytest.fixture(scope="module")
def iris():
    """A map of two thirds of the irises, the rest, and the species of both."""
    train, test, train_species, test_species = train_test_split(FIGURES, SPECIES, test_size=0.33, random_state=42)
    model = fc.TSNE(max_iter=300, random_state=0).fit(train)
    return model, test, train_species, test_species


def precomputed(distances, k):
    order = np.argsort(distances + np.diag(np.full(len(distances), np.inf)), axis=1)[:, :k]
    return fc.NeighborGraph(order, np.take_along_axis(distances, order, 1).astype(np.float32))


def test_the_basic_flow_gives_finite_maps():
    X, new = two_groups()
    model = fc.TSNE(max_iter=120, random_state=0).fit(X)
    assert np.isfinite(model.embedding_).all()
    assert np.isfinite(model.transform(new)).all()


def test_callbacks_hear_the_true_divergence_while_attraction_is_exaggerated():
    X, _ = two_groups()
    heard = []
    model = fc.TSNE(max_iter=30, callbacks=lambda *args: heard.append(args), callbacks_every_iters=5, random_state=0)
    graph = fc.knn_graph(X, 90)
    model.fit(graph)
    P = affinities_of(model, graph)
    assert len(heard) == 6
    for _, divergence, points in heard:
        assert divergence == pytest.approx(reference.divergence(P, points), rel=1e-4)


def test_similar_irises_come_together_from_a_random_start():
    start = fc.TSNE(initialization="random", max_iter=0, random_state=0).fit_transform(FIGURES)
    assert accuracy(start, SPECIES) < 0.6
    model = fc.TSNE(initialization="random", early_exaggeration=1, max_iter=300, random_state=0)
    assert accuracy(model.fit_transform(FIGURES), SPECIES) > 0.95


def test_distances_computed_before_come_as_a_graph():
    graph = precomputed(squareform(pdist(FIGURES)), 90)
    start = fc.TSNE(initialization="random", max_iter=0, random_state=0).fit_transform(graph)
    assert accuracy(start, SPECIES) < 0.6
    model = fc.TSNE(max_iter=300, random_state=0).fit(graph)
    assert model.initialization_ == "spectral"
    assert accuracy(model.embedding_, SPECIES) > 0.95
    with pytest.raises(PreconditionError):
        model.transform(FIGURES[:3])


def test_distances_computed_before_give_the_same_affinities():
    X = FIGURES + np.random.default_rng(0).normal(scale=1e-3, size=FIGURES.shape)
    model = fc.TSNE()
    ours = affinities_of(model, fc.knn_graph(X, 90))
    given = affinities_of(model, precomputed(squareform(pdist(X)), 90))
    assert abs(ours - given).max() < 1e-6 * ours.max()


def test_rows_placed_one_by_one_come_where_they_come_together(iris):
    model, new, _, _ = iris
    together = model.transform(new)
    assert np.array_equal(np.vstack([model.transform(row[None]) for row in new]), together)
    assert np.array_equal(model.transform(new[:25]), together[:25])
    assert np.array_equal(model.transform(new), together)


def test_new_irises_come_to_their_species(iris):
    model, new, species, new_species = iris
    assert accuracy(model.embedding_, species, model.transform(new), new_species) > 0.95


def test_more_dimensions_than_a_map_has_are_refused():
    with pytest.raises(InputError, match="n_components"):
        fc.TSNE(4).fit(FIGURES)


def test_the_spectral_start_is_scikit_learns_spectral_embedding():
    from sklearn.manifold import SpectralEmbedding

    X = np.random.default_rng(42).normal(size=(100, 20))
    X[:, 0] *= 5
    model = fc.TSNE(initialization="spectral", max_iter=0, random_state=0)
    graph = fc.knn_graph(X, 90)
    start = model.fit_transform(graph)
    theirs = SpectralEmbedding(affinity="precomputed").fit_transform(affinities_of(model, graph).astype(np.float64))
    for axis in range(2):
        # Ours has a speck of noise added, a hundredth of its spread.
        assert abs(np.corrcoef(start[:, axis], theirs[:, axis])[0, 1]) > 0.999


@pytest.mark.parametrize("n", [100, 150, 200])
@pytest.mark.parametrize("d", [5, 10, 20])
def test_early_exaggeration_does_not_collapse_the_map(n, d):
    X = np.random.default_rng(42).normal(size=(n, d))
    assert np.ptp(fc.TSNE(random_state=42).fit_transform(X), axis=0).min() > 1


def test_many_duplicates_and_much_exaggeration_work():
    bins = (np.median(FIGURES, axis=0) < FIGURES).astype(np.float64)
    X = bins[np.random.default_rng(0).integers(len(bins), size=1000)]
    assert np.isfinite(fc.TSNE(early_exaggeration=100, max_iter=300, random_state=0).fit_transform(X)).all()


@pytest.mark.parametrize(
    "params",
    [
        {"learning_rate": 10},
        {"early_exaggeration": 4},
        {"early_exaggeration_iter": 100},
        {"late_exaggeration": 2},
        {"max_iter": 290},
        {"perplexity": 10},
        {"k_neighbors": 40},
        {"random_state": 1},
        {"n_components": 1},
    ],
    ids=lambda params: next(iter(params)),
)
def test_each_parameter_reaches_the_optimisation(params):
    base = {"max_iter": 280, "random_state": 0}
    usual, other = (fc.TSNE(**given).fit(FIGURES) for given in (base, base | params))
    assert not np.array_equal(usual.embedding_, other.embedding_)


def test_a_metric_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="metric"):
        fc.TSNE(metric="imaginary").fit(FIGURES)


def test_callbacks_come_alone_or_in_a_list_and_can_be_changed():
    calls = {"first": 0, "second": 0}

    def counter(name):
        def call(iteration, divergence, points):
            calls[name] += 1

        return call

    params = {"callbacks_every_iters": 1, "max_iter": 1}
    fc.TSNE(callbacks=counter("first"), **params).fit(FIGURES)
    fc.TSNE(callbacks=[counter("first")], **params).fit(FIGURES)
    assert calls == {"first": 2, "second": 0}
    model = fc.TSNE(callbacks=counter("first"), **params)
    model.callbacks = counter("second")
    model.fit(FIGURES)
    assert calls == {"first": 2, "second": 1}


def test_a_start_that_is_given_is_where_the_map_begins():
    start = np.random.default_rng(0).normal(scale=1e-4, size=(len(FIGURES), 2))
    model = fc.TSNE(initialization=start, max_iter=0).fit(FIGURES)
    assert np.array_equal(model.embedding_, start.astype(np.float32))
    before = start.copy()
    fc.TSNE(initialization=start, max_iter=20).fit(FIGURES)
    assert np.array_equal(start, before)


@pytest.mark.parametrize("initialization", ["random", "pca", "spectral"])
def test_starts_are_small(initialization):
    X = np.random.default_rng(0).normal(100, 50, (25, 4))
    points = fc.TSNE(perplexity=2, initialization=initialization, max_iter=0, random_state=0).fit_transform(X)
    assert points.var(axis=0).max() < 1e-3


@pytest.mark.parametrize("shape", [(10, 2), (150, 4), (150,)])
def test_a_start_of_another_shape_is_refused(shape):
    with pytest.raises(InputError, match="initialization"):
        fc.TSNE(initialization=np.zeros(shape)).fit(FIGURES)


@pytest.mark.parametrize("initialization", ["random", "pca", "spectral"])
def test_the_same_seed_gives_the_same_map_from_each_start(initialization):
    X = np.random.default_rng(0).normal(10_000, 50, (25, 4))
    maps = [
        fc.TSNE(perplexity=5, initialization=initialization, max_iter=100, random_state=1).fit_transform(X)
        for _ in range(2)
    ]
    assert np.array_equal(*maps)


def test_defaults_are_opentsnes_where_the_names_are():
    import openTSNE

    ours, theirs = (inspect.signature(each.__init__).parameters for each in (fc.TSNE, openTSNE.TSNE))
    other = {name for name in set(ours) & set(theirs) - {"self"} if ours[name].default != theirs[name].default}
    # "auto" is PCA where there are rows; threads do not change our bits, so all are used; callbacks cost us a
    # fraction of what they cost openTSNE.
    assert other == {"initialization", "n_jobs", "callbacks_every_iters"}


def test_a_fitted_map_can_be_pickled_and_places_new_rows(iris):
    model, new, _, _ = iris
    again = pickle.loads(pickle.dumps(model))
    assert again.random_state == 0
    assert np.array_equal(again.transform(new), model.transform(new))


@pytest.mark.parametrize(
    "params", [{}, {"perplexity": [10, 30]}, {"affinities": "uniform", "k_neighbors": 30}], ids=["one", "many", "same"]
)
@pytest.mark.parametrize("initialization", ["auto", "random"])
def test_all_affinities_keep_species_together(params, initialization):
    model = fc.TSNE(max_iter=300, initialization=initialization, random_state=0, **params).fit(FIGURES)
    assert accuracy(model.embedding_, SPECIES) > 0.94
    assert accuracy(model.transform(FIGURES), SPECIES) > 0.94


def test_affinities_sum_to_one_and_are_symmetric():
    for params in ({}, {"perplexity": [10, 20]}, {"affinities": "uniform", "k_neighbors": 5}):
        model = fc.TSNE(**params)
        P = affinities_of(model, fc.knn_graph(FIGURES, neighbors_wanted(model, len(FIGURES))))
        assert P.sum(dtype=np.float64) == pytest.approx(1, rel=1e-5)
        assert abs(P - P.T).max() == 0


def test_one_perplexity_in_a_list_is_that_perplexity():
    maps = [fc.TSNE(perplexity=given, max_iter=20, random_state=0).fit_transform(FIGURES) for given in (20, [20])]
    assert np.array_equal(*maps)


def test_fitting_changes_no_parameter():
    model = fc.TSNE(perplexity=[10, 20], max_iter=5)
    before = model.get_params()
    assert model.fit(FIGURES) is model
    assert model.get_params() == before


def test_scikit_learns_methods_return_what_scikit_learns_return():
    model = fc.TSNE(max_iter=20)
    assert type(model.fit(FIGURES)) is fc.TSNE
    assert type(model.fit_transform(FIGURES)) is np.ndarray
    assert type(model.transform(FIGURES[:3])) is np.ndarray


def test_iterations_in_two_parts_are_iterations_in_one(tmp_path):
    class InterruptedByTestError(Exception):
        pass

    def stop(iteration, divergence, points):
        raise InterruptedByTestError

    params = {"max_iter": 300, "random_state": 0}
    whole = fc.TSNE(**params).fit_transform(FIGURES)
    file = tmp_path / "state.safetensors"
    with pytest.raises(InterruptedByTestError):
        fc.TSNE(checkpoint=file, callbacks=stop, callbacks_every_iters=70, **params).fit(FIGURES)
    assert np.array_equal(fc.TSNE(checkpoint=file, **params).fit_transform(FIGURES), whole)


def test_affinities_with_long_indices_are_taken():
    model = fc.TSNE()
    P = affinities_of(model, fc.knn_graph(FIGURES, 90))
    Y = np.random.default_rng(0).normal(size=(len(FIGURES), 2)).astype(np.float32)
    expected = attraction(P, Y).forces
    P.indptr, P.indices = P.indptr.astype(np.int64), P.indices.astype(np.int64)
    assert np.array_equal(attraction(P, Y).forces, expected)
