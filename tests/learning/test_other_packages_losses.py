"""Contrastive, triplet and retrieval figures against pytorch-metric-learning."""

import numpy as np
import pytest
import torch
from pytorch_metric_learning import distances, losses, miners
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from fastclust import evaluation
from fastclust.learning.losses import ContrastiveLoss, TripletLoss
from fastclust.learning.miners import HardestMiner


@pytest.fixture
def batch():
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.normal(size=(24, 5))).requires_grad_(), torch.from_numpy(rng.integers(0, 4, 24))


def same(ours, theirs, embeddings):
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    slopes = [torch.autograd.grad(loss, embeddings, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("margins", [(0.0, 1.0), (0.3, 0.8)])
def test_contrastive_is_theirs(batch, margins):
    e, labels = batch
    same(ContrastiveLoss(*margins)(e, labels), losses.ContrastiveLoss(*margins)(e, labels), e)


def test_contrastive_with_references_and_pairs_is_theirs(batch):
    e, labels = batch
    args = {"ref_emb": e.detach()[:9] * 1.5 + 0.1, "ref_labels": labels[:9]}
    same(ContrastiveLoss()(e, labels, **args), losses.ContrastiveLoss()(e, labels, **args), e)
    pairs = (torch.arange(6), torch.arange(6, 12), torch.arange(3), torch.arange(20, 23))
    ours, theirs = (loss(e, labels, indices_tuple=pairs) for loss in (ContrastiveLoss(), losses.ContrastiveLoss()))
    same(ours, theirs, e)


@pytest.mark.parametrize("power", [1, 2])
def test_triplet_is_theirs(batch, power):
    e, labels = batch
    theirs = losses.TripletMarginLoss(0.2, distance=distances.LpDistance(power=power))
    same(TripletLoss(0.2, squared_distances=power == 2)(e, labels), theirs(e, labels), e)
    triplets = (torch.arange(8), torch.arange(8, 16), torch.arange(16, 24))
    ours = TripletLoss(0.2, squared_distances=power == 2)(e, labels, indices_tuple=triplets)
    same(ours, theirs(e, labels, indices_tuple=triplets), e)


@pytest.mark.parametrize("classes", [3, 20])
def test_recall_and_map_at_r_are_theirs(classes):
    rng = np.random.default_rng(classes)
    labels = np.concatenate([np.repeat(np.arange(classes), 2), rng.integers(0, classes, 90)])
    rows = (rng.normal(size=(classes, 6))[labels] + rng.normal(size=(len(labels), 6))).astype(np.float32)
    theirs = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"),
        knn_func=CustomKNN(distances.LpDistance(normalize_embeddings=False)),
        device=torch.device("cpu"),
    ).get_accuracy(torch.from_numpy(rows), torch.from_numpy(labels))
    assert evaluation.recall_at_k(rows, labels, 1, metric="euclidean") == pytest.approx(
        theirs["precision_at_1"], rel=1e-6
    )
    found = evaluation.mean_average_precision_at_r(rows, labels, metric="euclidean")
    assert found == pytest.approx(theirs["mean_average_precision_at_r"], rel=1e-6)
    assert 0.1 < found < 0.95


def test_the_hardest_triplets_are_theirs(batch):
    e, labels = batch
    anchors, positives, negatives, weights = HardestMiner()(e, labels)
    theirs = miners.BatchHardMiner(distance=distances.LpDistance())(e, labels)
    for mine, other in zip((anchors, positives, negatives), theirs, strict=True):
        assert mine.tolist() == other.tolist()
    assert weights.tolist() == [1.0] * len(anchors)


def test_the_hardest_triplets_with_references_weights_and_unknown_labels(batch):
    e, labels = batch
    ref, known = e.detach()[:9] * 1.5 + 0.1, labels[:9].clone()
    known[0] = -1
    confidence = torch.linspace(0.1, 1, 24, dtype=torch.float64)
    anchors, positives, negatives, weights = HardestMiner()(e, labels, ref, known, confidence=confidence)
    unit, others = (torch.nn.functional.normalize(x.detach(), dim=1).numpy() for x in (e, ref))
    wanted = []
    for i, row in enumerate(unit):
        gaps = [float(np.linalg.norm(row - other)) for other in others]
        same_label = [(gaps[j], j) for j in range(9) if known[j] == labels[i]]
        other_label = [(gaps[j], j) for j in range(9) if known[j] not in (labels[i], -1)]
        if same_label and other_label:
            wanted.append((i, max(same_label)[1], min(other_label)[1]))
    assert list(zip(anchors.tolist(), positives.tolist(), negatives.tolist(), strict=True)) == wanted
    assert weights.tolist() == confidence[anchors].tolist()
    ours = TripletLoss(0.2)(e, indices_tuple=(anchors, positives, negatives), ref_emb=ref, pair_weights=weights)
    assert torch.isfinite(ours)
