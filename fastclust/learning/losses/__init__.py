"""Losses of metric learning, with labels and without. Vectorised; none waits for the device."""

from fastclust.learning.losses.contextual import contextual_similarity
from fastclust.learning.losses.contrastive import ContrastiveLoss
from fastclust.learning.losses.relaxed import RelaxedContrastiveLoss, SelfDistillationLoss
from fastclust.learning.losses.self_taught import SelfTaughtLoss
from fastclust.learning.losses.triplet import TripletLoss

__all__ = [
    "ContrastiveLoss",
    "RelaxedContrastiveLoss",
    "SelfDistillationLoss",
    "SelfTaughtLoss",
    "TripletLoss",
    "contextual_similarity",
]
