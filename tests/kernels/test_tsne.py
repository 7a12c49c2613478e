import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_matrix

from fastclust_kernels.errors import BackendError, InputError, InputTypeError
from fastclust_kernels.tsne import _slices, attraction, reference, repulsion
from fastclust_kernels.tsne._exact import all_pairs
from fastclust_kernels.tsne._grid import GridRepulsion, shape_of
from fastclust_kernels.tsne._mesh import gather, spread
from fastclust_kernels.tsne._pull import Affinities
from fastclust_kernels.tsne.descent import descend, shift
from fastclust_kernels.tsne.moving import MovingForces

SPANS = [1e-4, 0.1, 1, 3, 10, 30, 100, 300, 1000]


def error(found, exact):
    """Root of the mean square, relative."""
    return np.sqrt(((found - exact) ** 2).sum() / (exact**2).sum())


def cloud(n, span, dimensions=2, seed=0):
    points = np.random.default_rng(seed).normal(size=(n, dimensions))
    return (points * span / np.ptp(points, axis=0).max()).astype(np.float32)


def affinities(n, seed=0, density=0.1):
    P = random_matrix(n, n, density, format="csr", random_state=seed)
    P = (P + P.T).tocsr()
    return P / P.sum()


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_attraction_is_the_oracles(attraction_backend, interpreted, dimensions):
    n = 260 if interpreted(attraction_backend) else 800
    P, Y = affinities(n, density=0.4), cloud(n, 20, dimensions)
    found = attraction(P, Y, backend=attraction_backend.name)
    assert found.backend == attraction_backend.name
    assert error(found.forces, reference.attraction(P, Y)) < attraction_backend.tolerance["float32"]


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("method", ["auto", "fft"])
def test_repulsion_is_within_one_per_cent_at_any_span(repulsion_backend, interpreted, method, span):
    """Normalised, as the gradient has it: a wrong Z counts too."""
    # "auto" takes all pairs of so few.
    repulsion_is_right(repulsion_backend, method, cloud(500 if interpreted(repulsion_backend) else 1500, span))


def repulsion_is_right(row, method, Y):
    forces, total = reference.repulsion(Y)
    found = repulsion(Y, method=method, backend=row.name)
    assert error(found.forces / found.normalization, forces / total) < row.tolerance["float32"]
    assert abs(found.normalization / total - 1) < 1e-4


@pytest.mark.parametrize("span", [30, 150, 1000])
def test_repulsion_is_within_one_per_cent_where_points_crowd_in_groups(span):
    rng = np.random.default_rng(1)
    groups = rng.uniform(0, span, (30, 2))
    Y = (groups[rng.integers(30, size=4000)] + rng.normal(size=(4000, 2)) * 1.5).astype(np.float32)
    forces, total = reference.repulsion(Y)
    for method in ("fft", "exact"):
        found = repulsion(Y, method=method)
        assert found.method == method
        assert error(found.forces / found.normalization, forces / total) < 0.01


@pytest.mark.parametrize("span", [1, 20, 100, 400])
def test_repulsion_of_many_points_is_within_one_per_cent(span):
    """By default through a grid. Sparse maps are the hardest for it: near pairs carry the force."""
    Y = cloud(20_000, span)
    sample = np.random.default_rng(0).choice(len(Y), 300, replace=False)
    apart = Y[sample, None].astype(np.float64) - Y[None]
    weights = 1 / (1 + (apart**2).sum(axis=2))
    found = repulsion(Y)
    assert found.method == "fft"
    assert error(found.forces[sample], (weights[..., None] ** 2 * apart).sum(axis=1)) < 0.01


@pytest.mark.parametrize("dimensions", [1, 3])
@pytest.mark.parametrize("span", [1e-3, 1, 100, 1000])
def test_repulsion_in_one_and_three_dimensions(dimensions, span):
    Y = cloud(1200, span, dimensions)
    forces, total = reference.repulsion(Y)
    for method in ("auto", "exact", "fft" if dimensions == 1 else "barnes_hut"):
        found = repulsion(Y, method=method)
        assert error(found.forces / found.normalization, forces / total) < 0.01
        assert abs(found.normalization / total - 1) < 0.01


def in_groups(n, span, seed=1):
    rng = np.random.default_rng(seed)
    return (rng.uniform(0, span, (30, 3))[rng.integers(30, size=n)] + rng.normal(size=(n, 3)) * 1.5).astype(np.float32)


@pytest.mark.parametrize("span", [1e-4, 1, 3, 10, 30, 100, 300, 1000])
@pytest.mark.parametrize("make", [lambda n, span: cloud(n, span, 3), in_groups], ids=["cloud", "groups"])
def test_the_tree_is_within_one_per_cent_at_any_span(make, span):
    """Of enough points that most of what pushes a point are cells."""
    Y = make(12_000, span)
    exact, total = all_pairs(Y)
    found = repulsion(Y, method="barnes_hut")
    assert error(found.forces / found.normalization, exact / total) < 0.01
    assert abs(found.normalization / total - 1) < 0.002


def test_many_points_in_space_take_the_tree_and_few_all_pairs():
    assert repulsion(cloud(300, 10, 3)).method == "exact"
    assert repulsion(cloud(12_000, 10, 3)).method == "barnes_hut"


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 65, 200])
@pytest.mark.parametrize("distinct", [1, 3, 1000])
def test_the_tree_takes_points_that_coincide(n, distinct):
    rng = np.random.default_rng(n)
    Y = (3 * rng.normal(size=(distinct, 3)) + 7).astype(np.float32)[rng.integers(distinct, size=n)]
    forces, total = reference.repulsion(Y)
    found = repulsion(Y, method="barnes_hut")
    # A few places are the worst case: one cell's error is not averaged with those of others.
    assert np.abs(found.forces - forces).max() <= 0.05 * np.abs(forces).max() + 1e-5 * n
    assert abs(found.normalization - total) <= 1e-3 * total


@pytest.mark.parametrize(("thin", "most"), [((1, 1, 0), 0.01), ((1, 1, 1e-3), 0.01), ((1, 0, 0), 0.1)])
def test_the_tree_takes_points_in_a_plane_or_on_a_line(thin, most):
    """On a line, where forces of both sides cancel, its error is larger than promised for maps in space."""
    Y = cloud(3000, 40, 3) * np.float32(thin)
    exact, total = reference.repulsion(Y)
    found = repulsion(Y, method="barnes_hut")
    assert error(found.forces / found.normalization, exact / total) < most
    assert abs(found.normalization / total - 1) < 0.01


def test_forces_on_a_grid_obey_action_and_reaction():
    found = repulsion(cloud(5000, 50), method="fft").forces.astype(np.float64)
    assert np.abs(found.sum(axis=0)).max() < 1e-4 * np.abs(found).sum()


def test_a_single_point_and_coincident_points_feel_nothing():
    for n in (1, 2, 500):
        for method in ("exact", "fft"):
            found = repulsion(np.full((n, 2), 3.5, np.float32), method=method)
            assert np.abs(found.forces).max() < 1e-4 * n
            assert abs(found.normalization - n * (n - 1)) <= 1e-5 * n * n


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(2, 40),
    seed=st.integers(0, 999),
    scale=st.sampled_from([1e-6, 1e-2, 1.0, 50.0]),
    thin=st.sampled_from([0.0, 1e-3, 1.0]),
)
def test_any_shape_of_map_is_the_oracles(n, seed, scale, thin):
    rng = np.random.default_rng(seed)
    Y = (rng.normal(size=(n, 2)) * scale * [1.0, thin]).astype(np.float32)
    Y[rng.integers(n)] = Y[0]
    forces, total = reference.repulsion(Y)
    # A point's own field is of the order of 1, or of the extent if that is less, and leaves its roundings.
    roundings = 1e-7 * n * min(1.0, float(np.ptp(Y))) + 1e-15
    for method in ("auto", "fft"):
        found = repulsion(Y, method=method)
        assert np.abs(found.forces - forces).max() <= 0.06 * np.abs(forces).max() + roundings
        # Where coincident points carry all of Z, the grid is at its worst.
        assert abs(found.normalization - total) <= 0.01 * total


def test_the_grid_is_kept_while_its_shape_is_the_same(monkeypatch):
    from fastclust_kernels.tsne import _grid

    made = []
    make = _grid._make_kernels
    monkeypatch.setattr(_grid, "_make_kernels", lambda shape: made.append(shape) or make(shape))
    engine, Y = GridRepulsion(), cloud(2000, 60)
    for factor in (1.0, 0.999, 0.5):
        points = (Y * factor).astype(np.float32)
        engine(points, shape_of(np.ptp(points, axis=0), points.min(axis=0)))
    assert len(made) == 2


def test_the_bits_do_not_depend_on_the_number_of_threads():
    P, Y = affinities(3000, density=0.02), cloud(3000, 40)
    before = numba.get_num_threads()
    results = []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            forces = MovingForces(P, method="fft")
            parts = forces.repulsion(Y), repulsion(Y, method="exact"), forces.attraction(Y), forces.divergence(Y)
            parts += (repulsion(cloud(3000, 40, 3), method="barnes_hut"),)
            results.append(b"".join(_bytes(part) for part in parts))
    finally:
        numba.set_num_threads(before)
    assert results[0] == results[1]


def _bytes(part):
    items = part if isinstance(part, tuple) else (part,)
    return b"".join(item.encode() if isinstance(item, str) else np.asarray(item).tobytes() for item in items)


def test_the_divergence_is_the_oracles():
    P, Y = affinities(900), cloud(900, 25)
    exact = reference.divergence(P, Y)
    for method in ("exact", "fft"):
        assert MovingForces(P, method=method).divergence(Y) == pytest.approx(exact, rel=1e-5)


def test_another_order_in_memory_changes_no_attraction():
    P, Y = affinities(700), cloud(700, 25)
    forces = MovingForces(P)
    straight = forces.attraction(Y)
    order = np.random.default_rng(3).permutation(700).astype(np.int32)
    forces.reorder(order)
    assert np.array_equal(forces.attraction(np.ascontiguousarray(Y[order])), straight[order])


def some_rows_long(n, longest):
    """A few rows have most of the entries, some have none, and the others any number of them."""
    rng = np.random.default_rng(n)
    lengths = rng.integers(0, min(40, n + 1), n)
    lengths[rng.choice(n, len(longest), replace=False)] = longest
    rows = np.repeat(np.arange(n), lengths)
    columns = np.concatenate([rng.choice(n, length, replace=False) for length in lengths])
    return csr_matrix((rng.random(len(rows)).astype(np.float32), (rows, columns)), shape=(n, n))


@pytest.mark.parametrize(
    ("n", "longest"), [(1, [0]), (15, [15]), (16, [3]), (17, [9]), (2500, [60]), (2500, [2400] * 3)]
)
def test_rows_of_any_length_in_any_order_are_the_oracles(n, longest):
    P, Y = some_rows_long(n, longest), cloud(n, 20) if n > 1 else np.ones((1, 2), np.float32)
    order = np.random.default_rng(1).permutation(n).astype(np.int32)
    P.data[: len(P.data) // 20] = 0
    forces = MovingForces(P)
    forces.reorder(order)
    exact = reference.attraction(P, Y)
    found = np.empty_like(Y)
    found[order] = forces.attraction(np.ascontiguousarray(Y[order]))
    assert np.abs(found - exact).max() <= 1e-5 * np.abs(exact).max()
    if n > 1:
        assert forces.divergence(np.ascontiguousarray(Y[order])) == pytest.approx(reference.divergence(P, Y), rel=1e-5)


def test_the_divergence_of_a_line_is_the_oracles_in_any_order():
    P, Y = affinities(900), cloud(900, 25)[:, :1].copy()
    order = np.random.default_rng(3).permutation(900).astype(np.int32)
    forces = MovingForces(P, method="exact")
    forces.reorder(order)
    assert forces.divergence(np.ascontiguousarray(Y[order])) == pytest.approx(reference.divergence(P, Y), rel=1e-5)


def test_slices_are_hardly_longer_than_their_rows():
    """Also where a few rows are much longer than those near them; the others keep their places, more or less."""
    for longest, most, away in (([60], 1.1, _slices._WINDOW), ([2400] * 3, 1.6, 2500)):
        P = some_rows_long(2500, longest)
        made = _slices.sliced(Affinities.of(P), np.arange(2500, dtype=np.int32))
        assert len(made.values) <= most * P.nnz
        rows = made.rows[made.rows < 2500]
        assert np.array_equal(np.sort(rows), np.arange(2500))
        assert np.abs(rows - np.arange(2500)).max() < away


def window(t):
    """A cubic B-spline's weights of four nodes, written out."""
    return np.array([(1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3]) / 6


def test_charges_and_fields_are_those_of_a_b_spline():
    rng = np.random.default_rng(0)
    Y = rng.uniform(0, 9, (70, 2)).astype(np.float32)
    Y[:3] = [[0, 0], [8.999999, 0], [4, 8]]  # on nodes, and nearly
    low, spacing = (np.float32(0), np.float32(0)), 0.5
    own = rng.random((4, 4))
    fields = tuple(rng.normal(size=(24, 32)).astype(np.float32) for _ in range(2))
    grid, itself, expected = np.zeros((24, 32)), 0.0, np.empty((70, 2))
    for i, point in enumerate(Y.astype(np.float64) / spacing):
        row, column = point.astype(int)
        weights = np.outer(window(point[0] - row), window(point[1] - column))
        grid[row : row + 4, column : column + 4] += weights
        for r, c, s, t in np.ndindex(4, 4, 4, 4):
            itself += weights[r, c] * weights[s, t] * own[abs(r - s), abs(c - t)]
        expected[i] = [(weights * field[row : row + 4, column : column + 4]).sum() for field in fields]
    charges, forces = np.zeros((24, 32), np.float32), np.empty_like(Y)
    assert spread(Y, low, spacing, own, charges) == pytest.approx(itself, rel=1e-6)
    np.testing.assert_allclose(charges, grid, atol=2e-6)
    gather(Y, low, spacing, fields, forces)
    np.testing.assert_allclose(forces, expected, atol=2e-6)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_step_is_the_textbooks(dimensions):
    rng = np.random.default_rng(0)
    Y, update, attracted, repelled = (rng.normal(size=(5000, dimensions)).astype(np.float32) for _ in range(4))
    gains = rng.uniform(0.1, 2, (5000, dimensions)).astype(np.float32)
    update[::7] = 0
    attracted[::14] = repelled[::14] = 0  # neither forwards nor backwards: no turn
    gradient = 4.0 * attracted.astype(np.float64) - repelled / 7.0
    turned = np.sign(update) != np.sign(gradient)
    expected_gains = np.where(turned, gains + 0.2, gains * 0.8 + 0.01)
    expected = 0.8 * update - 3.0 * expected_gains * gradient
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    assert 0.05 < (lengths > 5).mean() < 0.95
    expected *= np.minimum(1, 5 / np.maximum(lengths, 1e-30))
    target = Y + expected
    total = descend(
        Y, update, gains, attracted, repelled, exaggeration=4.0, normalization=7.0, learning_rate=3.0, momentum=0.8
    )
    np.testing.assert_allclose(gains, expected_gains, rtol=1e-5)
    np.testing.assert_allclose(Y, target, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(total, target.sum(axis=0), rtol=1e-4, atol=0.05)
    assert np.linalg.norm(update, axis=1).max() < 5.001
    by = np.arange(1, 1 + dimensions, dtype=np.float32)
    moved = Y - by
    shift(Y, by)
    assert np.array_equal(Y, moved)


def test_a_step_of_points_that_are_no_one_piece_of_memory_is_refused():
    Y, others = np.zeros((5, 4), np.float32)[:, :2], [np.zeros((5, 2), np.float32) for _ in range(4)]
    with pytest.raises(InputError, match="contiguous"):
        descend(Y, *others, exaggeration=1.0, normalization=1.0, learning_rate=1.0, momentum=0.5)
    with pytest.raises(InputError, match="contiguous"):
        shift(Y, np.ones(2, np.float32))


@pytest.mark.parametrize(
    ("Y", "options", "error"),
    [
        (np.zeros((5, 4), np.float32), {}, InputError),
        (np.full((5, 2), np.nan, np.float32), {}, InputError),
        (np.array([["a", "b"]]), {}, InputTypeError),
        (np.zeros((5, 3), np.float32), {"method": "fft"}, InputError),
        (np.zeros((5, 2), np.float32), {"method": "tree"}, InputError),
        (np.zeros((5, 2), np.float32), {"method": "barnes_hut"}, InputError),
        (np.zeros((5, 2), np.float32), {"backend": "cuda"}, BackendError),
        (np.array([[0, 0], [1e30, 0]], np.float32), {"method": "fft"}, InputError),
    ],
)
def test_points_that_cannot_be_worked_on_are_refused(Y, options, error):
    with pytest.raises(error):
        repulsion(Y, **options)


def test_affinities_of_another_size_are_refused():
    with pytest.raises(InputError, match="P"):
        attraction(csr_matrix((4, 4)), np.zeros((5, 2), np.float32))
    with pytest.raises(InputTypeError, match="CSR"):
        attraction(np.zeros((5, 5)), np.zeros((5, 2), np.float32))
