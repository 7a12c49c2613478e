"""Every loss against loops over rows in float64, and the slopes against finite differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastclust.errors import InputError, InputTypeError
from fastclust.learning.losses import (
    ContrastiveLoss,
    RelaxedContrastiveLoss,
    SelfDistillationLoss,
    SelfTaughtLoss,
    TripletLoss,
    contextual_similarity,
)

RTOL = 1e-6


def loop_contextual(teacher, groups, k, sigma):
    n = len(teacher)
    t = [row / np.linalg.norm(row) for row in teacher]
    near = [[math.exp(-float(np.sum((t[i] - t[j]) ** 2)) / sigma) for j in range(n)] for i in range(n)]
    order = []
    for i in range(n):
        ranked = [1.0 if groups[i] == groups[j] else near[i][j] for j in range(n)]
        order.append(sorted(range(n), key=lambda j, ranked=ranked: (-ranked[j], j))[:k])
    mutual = [{j for j in order[i] if i in order[j]} for i in range(n)]
    tilde = np.zeros((n, n))
    for i in range(n):
        for j in mutual[i]:
            tilde[i, j] = len(mutual[i] & mutual[j]) / len(mutual[i])
    first = max(1, round(k / 2))
    hat = np.array([np.mean([tilde[h] for h in order[i][:first]], axis=0) for i in range(n)])
    return (np.array(near) + (hat + hat.T) / 2) / 2


def loop_relative(s):
    n = len(s)
    d = [[math.sqrt(float(np.sum((s[i] - s[j]) ** 2))) for j in range(n)] for i in range(n)]
    return [[d[i][j] / (sum(d[i]) / n) for j in range(n)] for i in range(n)]


def loop_relaxed(s, w, margin):
    n, d, total = len(s), loop_relative(s), 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                total += w[i][j] * d[i][j] ** 2 + (1 - w[i][j]) * max(margin - d[i][j], 0) ** 2
    return total / (n * (n - 1))


def loop_distillation(f, g, temperature):
    def softmax(row):
        e = [math.exp(-value / temperature) for value in row]
        return [value / sum(e) for value in e]

    total = 0.0
    for row_f, row_g in zip(loop_relative(f), loop_relative(g), strict=True):
        total += sum(p * math.log(p / q) for p, q in zip(softmax(row_g), softmax(row_f), strict=True))
    return total / len(f)


def unit(rows):
    return [row / np.linalg.norm(row) for row in rows]


def mean_nonzero(terms, weights=None):
    weights = weights or [1.0] * len(terms)
    return sum(t * w for t, w in zip(terms, weights, strict=True)) / max(1, sum(t > 0 for t in terms))


def loop_contrastive(e, labels, ref, ref_labels, *, power, weights):
    a, b = unit(e), unit(e if ref is None else ref)
    other = labels if ref is None else ref_labels
    near, far = ([], []), ([], [])
    for i in range(len(a)):
        for j in range(len(b)):
            if ref is None and i == j:
                continue
            d = np.linalg.norm(a[i] - b[j])
            side, term = (near, d) if labels[i] == other[j] else (far, max(1 - d, 0))
            side[0].append(term**power)
            side[1].append(weights[i, j])
    return mean_nonzero(*near) + mean_nonzero(*far)


def loop_triplet(e, labels, margin, *, squared):
    u, terms = unit(e), []
    power = 2 if squared else 1
    for i in range(len(u)):
        for p in range(len(u)):
            for q in range(len(u)):
                if i != p and labels[i] == labels[p] and labels[i] != labels[q]:
                    gap = np.linalg.norm(u[i] - u[p]) ** power - np.linalg.norm(u[i] - u[q]) ** power
                    terms.append(max(gap + margin, 0))
    return mean_nonzero(terms)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 14), st.integers(1, 5), st.integers(1, 14), st.integers(0, 2**31), st.booleans())
@example(n=5, images=1, k=1, seed=59111, repeated=True)  # equal rows: |a|^2 + |b|^2 - 2 a.b is not zero
def test_contextual_similarity_is_the_formula(n, images, k, seed, repeated):
    rng = np.random.default_rng(seed)
    teacher = rng.normal(size=(n, 3))
    if repeated:  # equal rows: ties go to the lowest index
        teacher = np.repeat(teacher[: (n + 1) // 2], 2, axis=0)[:n]
        teacher = np.round(teacher) + np.array([1.0, 0.5, 0.25])
    groups = rng.integers(0, images * 2, n)
    k = min(k, n)
    found = contextual_similarity(torch.from_numpy(teacher), torch.from_numpy(groups), k=k, sigma=3.0)
    np.testing.assert_allclose(found.numpy(), loop_contextual(teacher, groups, k, 3.0), rtol=RTOL, atol=1e-12)


def test_float32_takes_the_same_neighbours_and_ties(rng):
    teacher = rng.normal(size=(40, 8))
    groups = np.tile(np.arange(20), 2)
    found = contextual_similarity(torch.from_numpy(teacher).float(), torch.from_numpy(groups), k=10, sigma=3.0)
    np.testing.assert_allclose(found.numpy(), loop_contextual(teacher, groups, 10, 3.0), rtol=1e-4)
    same = torch.ones(6, 2)
    tied = contextual_similarity(same, torch.zeros(6, dtype=torch.int64), k=2, sigma=1.0)
    np.testing.assert_allclose(tied.numpy(), loop_contextual(same.numpy(), np.zeros(6), 2, 1.0), rtol=1e-6)


def test_relaxed_contrastive_and_distillation_are_their_formulas(rng):
    f, g, w = rng.normal(size=(11, 4)), rng.normal(size=(11, 6)), rng.uniform(size=(11, 11))
    f[3] = f[7]
    found = RelaxedContrastiveLoss(0.9)(torch.from_numpy(f), torch.from_numpy(w))
    assert float(found) == pytest.approx(loop_relaxed(f, w, 0.9), rel=RTOL)
    found = SelfDistillationLoss(0.7)(torch.from_numpy(f), torch.from_numpy(g))
    assert float(found) == pytest.approx(loop_distillation(f, g, 0.7), rel=RTOL)


@pytest.mark.parametrize("hinge", ["plain", "squared"])
@pytest.mark.parametrize("with_ref", [False, True])
def test_contrastive_is_its_formula(rng, hinge, with_ref):
    e, labels = rng.normal(size=(9, 3)), rng.integers(0, 3, 9)
    ref, ref_labels = (rng.normal(size=(6, 3)), rng.integers(0, 3, 6)) if with_ref else (None, None)
    weights = rng.uniform(size=(9, 6 if with_ref else 9))
    tensors = [None if item is None else torch.from_numpy(item) for item in (ref, ref_labels)]
    found = ContrastiveLoss(hinge=hinge)(
        torch.from_numpy(e),
        torch.from_numpy(labels),
        ref_emb=tensors[0],
        ref_labels=tensors[1],
        pair_weights=torch.from_numpy(weights),
    )
    power = 2 if hinge == "squared" else 1
    expected = loop_contrastive(e, labels, ref, ref_labels, power=power, weights=weights)
    assert float(found) == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("squared", [False, True])
def test_triplet_is_its_formula_however_it_is_cut_into_blocks(rng, squared, monkeypatch):
    e, labels = rng.normal(size=(10, 3)), rng.integers(0, 3, 10)
    expected = loop_triplet(e, labels, 0.2, squared=squared)
    for block in (1, 250, 1 << 22):
        monkeypatch.setattr("fastclust.learning.losses.triplet._BLOCK", block)
        found = TripletLoss(0.2, squared_distances=squared)(torch.from_numpy(e), torch.from_numpy(labels))
        assert float(found) == pytest.approx(expected, rel=RTOL)


def test_index_tuples_of_all_pairs_and_triplets_give_what_labels_give(rng):
    e, labels = torch.from_numpy(rng.normal(size=(8, 3))), torch.from_numpy(rng.integers(0, 2, 8))
    same = labels[:, None] == labels[None, :]
    positive = torch.nonzero(same & ~torch.eye(8, dtype=torch.bool), as_tuple=True)
    negative = torch.nonzero(~same, as_tuple=True)
    pairs = (*positive, *negative)
    triplets = torch.nonzero((same & ~torch.eye(8, dtype=torch.bool))[:, :, None] & ~same[:, None, :], as_tuple=True)
    torch.testing.assert_close(ContrastiveLoss()(e, indices_tuple=pairs), ContrastiveLoss()(e, labels))
    for form in (pairs, triplets):
        torch.testing.assert_close(TripletLoss()(e, indices_tuple=form), TripletLoss()(e, labels))
    half = torch.full((len(triplets[0]),), 0.5, dtype=torch.float64)
    weighted = TripletLoss()(e, indices_tuple=triplets, pair_weights=half)
    torch.testing.assert_close(weighted, TripletLoss()(e, labels) / 2)


def test_slopes_agree_with_finite_differences(rng):
    e = torch.from_numpy(rng.normal(size=(6, 3))).requires_grad_()
    other = torch.from_numpy(rng.normal(size=(6, 4)))
    w, labels = torch.from_numpy(rng.uniform(size=(6, 6))), torch.tensor([0, 0, 1, 1, 2, 2])
    for loss in (
        lambda x: RelaxedContrastiveLoss()(x, w),
        lambda x: SelfDistillationLoss()(x, other),
        lambda x: ContrastiveLoss()(x, labels),
        lambda x: ContrastiveLoss(hinge="squared")(x, labels),
        lambda x: TripletLoss(0.3)(x, labels),
        lambda x: TripletLoss(0.3, squared_distances=True, hinge="squared")(x, labels),
    ):
        assert torch.autograd.gradcheck(loss, (e,))


def test_equal_rows_have_finite_slopes():
    e = torch.ones(5, 3, requires_grad=True)
    loss = RelaxedContrastiveLoss()(e, torch.rand(5, 5)) + SelfDistillationLoss()(e, torch.rand(5, 2))
    loss = loss + SelfTaughtLoss()(e, e, torch.rand(5, 5))
    (loss + ContrastiveLoss()(e, torch.tensor([0, 0, 1, 1, 1]))).backward()
    assert torch.isfinite(e.grad).all()


def test_the_teacher_side_gets_no_gradient(rng):
    f, g = (torch.from_numpy(rng.normal(size=(5, 3))).requires_grad_() for _ in range(2))
    SelfDistillationLoss()(f, g).backward()
    assert g.grad is None
    assert not contextual_similarity(f, torch.arange(5), k=2, sigma=1.0).requires_grad


def test_the_order_of_the_batch_does_not_matter(rng):
    n = 24
    teacher, groups = torch.from_numpy(rng.normal(size=(n, 5))), torch.from_numpy(np.tile(np.arange(n // 2), 2))
    f, g = torch.from_numpy(rng.normal(size=(n, 3))), torch.from_numpy(rng.normal(size=(n, 4)))
    order = torch.from_numpy(rng.permutation(n))
    w = contextual_similarity(teacher, groups, k=6, sigma=3.0)
    moved = contextual_similarity(teacher[order], groups[order], k=6, sigma=3.0)
    torch.testing.assert_close(moved, w[order][:, order])
    torch.testing.assert_close(RelaxedContrastiveLoss()(f[order], moved), RelaxedContrastiveLoss()(f, w))
    torch.testing.assert_close(SelfDistillationLoss()(f[order], g[order]), SelfDistillationLoss()(f, g))


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: contextual_similarity(torch.ones(3, 2), torch.arange(3), k=4, sigma=1.0), "k"),
        (lambda: contextual_similarity(torch.ones(3, 2), torch.arange(3), k=1, sigma=0.0), "sigma"),
        (lambda: contextual_similarity(torch.ones(3, 2), torch.arange(2), k=1, sigma=1.0), "groups"),
        (lambda: RelaxedContrastiveLoss()(torch.ones(3, 2), torch.ones(2, 2)), "W"),
        (lambda: RelaxedContrastiveLoss()(torch.ones(1, 2), torch.ones(1, 1)), "embeddings"),
        (lambda: SelfDistillationLoss()(torch.ones(3, 2), torch.ones(2, 2)), "student_g"),
        (lambda: SelfTaughtLoss()(torch.ones(3, 2), torch.ones(2, 2), torch.ones(3, 3)), "student_g"),
        (lambda: SelfTaughtLoss()(torch.ones(3, 2), torch.ones(3, 2), torch.ones(2, 2)), "W"),
        (lambda: SelfTaughtLoss(temperature=0.0), "temperature"),
        (lambda: ContrastiveLoss()(torch.ones(3, 2)), "labels"),
        (lambda: TripletLoss()(torch.ones(3, 2), torch.arange(2)), "labels"),
        (lambda: ContrastiveLoss(hinge="round"), "hinge"),
    ],
)
def test_what_does_not_fit_is_named(call, field):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.field == field


def test_an_index_tuple_of_another_length_is_refused():
    with pytest.raises(InputTypeError, match="indices_tuple"):
        TripletLoss()(torch.ones(3, 2), indices_tuple=(torch.arange(2),) * 2)


@pytest.mark.parametrize(("use_g", "use_distillation"), [(True, True), (True, False), (False, False)])
def test_the_loss_in_one_is_the_sum_of_its_parts_with_their_slopes(rng, use_g, use_distillation):
    f, g = (torch.from_numpy(rng.normal(size=(9, d))).requires_grad_() for d in (4, 6))
    w = torch.from_numpy(rng.uniform(size=(9, 9)))
    found = SelfTaughtLoss(0.9, 0.7, use_g=use_g, use_distillation=use_distillation)(f, g, w)
    relaxed = [loop_relaxed(rows.detach().numpy(), w.numpy(), 0.9) for rows in (f, g)]
    expected = (relaxed[0] + relaxed[1]) / 2 if use_g else relaxed[0]
    if use_distillation:
        expected += loop_distillation(f.detach().numpy(), g.detach().numpy(), 0.7)
    assert found.item() == pytest.approx(expected, rel=RTOL)
    slopes = torch.autograd.grad(found, [f, g], allow_unused=True)
    parts = RelaxedContrastiveLoss(0.9)(f, w)
    if use_g:
        parts = (parts + RelaxedContrastiveLoss(0.9)(g, w)) / 2
    if use_distillation:
        parts = parts + SelfDistillationLoss(0.7)(f, g)
    for mine, theirs in zip(slopes, torch.autograd.grad(parts, [f, g], allow_unused=True), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-14)


def test_the_loss_in_one_agrees_with_finite_differences(rng):
    f, g = (torch.from_numpy(rng.normal(size=(6, d))).requires_grad_() for d in (3, 4))
    w, loss = torch.from_numpy(rng.uniform(size=(6, 6))), SelfTaughtLoss(0.8, use_distillation=False)
    assert torch.autograd.gradcheck(lambda f, g: 3 * loss(f, g, w), (f, g))
    other = g.detach()  # the distillation holds g fixed
    assert torch.autograd.gradcheck(lambda f: SelfTaughtLoss(0.8, 0.7)(f, other, w), (f,))


def test_many_neighbours_and_few_share_by_the_same_rule(rng, monkeypatch):
    teacher, groups = torch.from_numpy(rng.normal(size=(30, 3))), torch.from_numpy(np.tile(np.arange(15), 2))
    for pairs in (0, 1000):
        monkeypatch.setattr("fastclust.learning.losses.contextual._PAIRS", pairs)
        found = contextual_similarity(teacher, groups, k=12, sigma=3.0)
        expected = loop_contextual(teacher.numpy(), groups.numpy(), 12, 3.0)
        np.testing.assert_allclose(found.numpy(), expected, rtol=RTOL, atol=1e-12)


def test_equal_rows_tie_however_many_they_are(rng, monkeypatch):
    teacher = np.repeat(rng.normal(size=(6, 50)), 4, axis=0)
    groups = np.arange(24)
    for close in (0, 16):
        monkeypatch.setattr("fastclust.learning.losses.contextual._CLOSE", close)
        found = contextual_similarity(torch.from_numpy(teacher).float(), torch.from_numpy(groups), k=3, sigma=3.0)
        expected = loop_contextual(teacher.astype(np.float32), groups, 3, 3.0)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6)
