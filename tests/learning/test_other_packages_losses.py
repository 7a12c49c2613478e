"""Contrastive, triplet and retrieval figures against pytorch-metric-learning."""

import numpy as np
import pytest
import torch
from pytorch_metric_learning import distances, losses

from fastclust.learning.losses import ContrastiveLoss, TripletLoss


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
