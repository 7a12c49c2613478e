"""What the screen of GPUs may multiply: float16, tf32, high and low halves; how far its scores are off, and labels.

Rows are rounded by our own kernel and not by matrix units: the interpreter multiplies the very numbers that they do.
"""

import numpy as np
import pytest
import torch

from fastclust_kernels.assign import assign
from fastclust_kernels.assign.reference import assign as oracle
from fastclust_kernels.assign.screening import ARITHMETIC, PRODUCTS
from fastclust_kernels.errors import BackendError, InputError

#: Those that decide in float64 what they leave open.
SCREENS = ["certified", "tf32", "split"]
#: What float16 and tf32 round by the most: between two of their numbers near 1.
MIDDLE = 1 + 2.0**-11


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")


def drawn(n, d, k, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=draw), torch.randn(k, d, generator=draw)


def worst(n, d, k):
    """Rows and centres all of whose roundings go the same way."""
    X, centers = drawn(n, d, k)
    numbers = torch.full_like(X, MIDDLE) * torch.exp2(torch.randint(-2, 1, (n, 1)).float())
    return numbers, torch.full_like(centers, MIDDLE) * (1 + 2.0**-8 * torch.arange(k)[:, None])


def right(X, centers, arithmetic):
    found = assign(X, centers, backend="triton", arithmetic=arithmetic)
    labels, least = oracle(X.double().numpy(), centers.double().numpy())
    assert np.array_equal(found.labels.numpy(), labels)
    np.testing.assert_allclose(found.distances.numpy(), least, rtol=1e-12)
    return found.certified


def scored(X, centers, name):
    """How far the best scores are off, by how much they may be, and the like of the table of tolerances."""
    from tests.kernels.scoring import scored

    scores, labels, doubts, most = scored(X, centers, name)
    truth = X.double() @ centers.double().T - 0.5 * centers.double().square().sum(dim=1)
    # No other centre scores more than the bound above it.
    assert (truth.amax(dim=1) <= scores + doubts).all()
    return (scores - truth[torch.arange(len(X)), labels]).abs(), doubts, most


@pytest.mark.parametrize("arithmetic", SCREENS)
@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (150, 20, 140), (40, 128, 5), (129, 200, 30), (20, 300, 4)])
def test_labels_are_the_oracles(arithmetic, n, d, k):
    assert right(*drawn(n, d, k), arithmetic) > 0.9


@pytest.mark.parametrize("arithmetic", SCREENS)
def test_what_is_left_open_is_decided_and_exact_copies_go_to_the_lowest(arithmetic):
    X, base = drawn(60, 16, 20, seed=1)
    draw = torch.Generator().manual_seed(2)
    near = base + 1e-6 * torch.randn(20, 16, generator=draw)
    assert right(X, torch.cat([base, near]), arithmetic) < 0.3
    third = near + 1e-6 * torch.randn(20, 16, generator=draw)
    assert right(X, torch.cat([base, near, third]), arithmetic) < 0.3
    assert right(X, torch.cat([base, base]), arithmetic) == 0


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_rows_than_float32_are_taken(kind):
    X, centers = (part.to(kind) for part in drawn(70, 24, 30))
    for arithmetic in ("tf32", "split"):
        found = assign(X, centers.to(torch.promote_types(kind, torch.float32)), backend="triton", arithmetic=arithmetic)
        assert np.array_equal(found.labels.numpy(), oracle(X.double().numpy(), centers.double().numpy())[0])


@pytest.mark.parametrize("arithmetic", SCREENS)
@pytest.mark.parametrize(("scale", "offset"), [(1e-30, 0.0), (1e-3, 1.0), (1e25, 0.0)])
def test_scales_and_offsets(arithmetic, scale, offset):
    X, centers = drawn(50, 7, 9, seed=3)
    right(scale * X + 1000 * offset, scale * centers + 1000 * offset, arithmetic)


def test_halves_leave_fewer_rows_open_and_tf32_keeps_what_lies_near_the_origin():
    X, base = drawn(120, 16, 25, seed=4)
    centers = torch.cat([base, base + 0.01 * torch.randn(25, 16, generator=torch.Generator().manual_seed(5))])
    certain = {arithmetic: right(X, centers, arithmetic) for arithmetic in SCREENS}
    assert certain["split"] > certain["certified"] + 0.2
    # One row far out: the others, and the centres, are below what float16 has beside it.
    X, centers = torch.cat([1e-13 * X, torch.full((1, 16), 1.0)]), 1e-13 * base
    certain = {arithmetic: right(X, centers, arithmetic) for arithmetic in SCREENS}
    assert certain["certified"] < 0.1
    assert certain["tf32"] > 0.9


@pytest.mark.parametrize("name", list(PRODUCTS))
@pytest.mark.parametrize("make", [drawn, worst])
@pytest.mark.parametrize("d", [16, 60, 330])
def test_a_score_is_off_by_less_than_its_bound_and_that_is_within_the_table(name, make, d):
    off, doubts, most = scored(*make(40, d, 6), name)
    assert (off <= doubts).all()
    assert (doubts <= most).all()


@pytest.mark.parametrize(("name", "part"), [("half", 0.5), ("tf32", 0.5), ("split", 0.003)])
def test_a_smaller_bound_would_be_too_small(name, part):
    """Roundings that all go the same way come near it: that of the products before they are added, at least."""
    X, centers = worst(40, 16, 6) if name != "split" else (1 + 2.0**-12 * part for part in worst(40, 16, 6))
    off, doubts, _ = scored(X, centers, name)
    assert (off > part * doubts).any()


def test_what_split_leaves_out_comes_near_the_terms_for_it():
    """Sums of these products are exact to a unit of 2^-21, so that what is off is what was left out.

    Of 1 + 2^-11 - 3 2^-23 the high half is 1, the low one 2^-11 - 2^-21, and 2^-23 is lost.
    """
    from tests.kernels.scoring import left_out

    d = 16
    X = torch.full((5, d), 1 + 2.0**-11 - 3 * 2.0**-23)
    high = X.half()
    low = (X - high).half()
    assert (high == 1).all()
    assert (X - high.float() - low.float() == 2.0**-23).all()
    off, _, _ = scored(X, X[:1].clone(), "split")
    terms = left_out(X, X[:1])
    assert (off <= terms + 2.0**-21).all()
    assert (off > 0.6 * terms).all()


@pytest.mark.parametrize("arithmetic", ["tf32", "split"])
@pytest.mark.parametrize("wrong", ["bound", "repair"])
def test_the_oracle_sees_a_bound_that_is_too_small(monkeypatch, arithmetic, wrong):
    from fastclust_kernels.assign import _triton

    X, base = drawn(120, 24, 60, seed=6)
    apart = {"tf32": 1e-5, "split": 1e-7}[arithmetic]
    centers = torch.cat([base, base * (1 + apart)])
    right(X, centers, arithmetic)
    if wrong == "bound":
        sound, share = _triton._doubt, {"tf32": 1e-3, "split": 2e-4}[arithmetic]
        monkeypatch.setattr(_triton, "_doubt", lambda *arguments: sound(*arguments) * share)
    else:
        monkeypatch.setattr(_triton, "settle", lambda *_: None)
    with pytest.raises(AssertionError):
        right(X, centers, arithmetic)


def test_what_there_is_not_is_refused():
    with pytest.raises(InputError, match="certified, half, tf32, split"):
        assign(np.zeros((2, 2)), np.zeros((1, 2)), arithmetic="fp8")
    with pytest.raises(BackendError, match="numba is exact only"):
        assign(np.zeros((2, 2)), np.zeros((1, 2)), arithmetic="tf32")
    assert set(ARITHMETIC) == {"exact", "certified", "half", "tf32", "split"}
