"""Metric learning without labels: features, losses, and the learner."""

from fastclust.learning.features import FeatureSet, compute_features
from fastclust.learning.learner import SelfTaughtLearner

__all__ = ["FeatureSet", "SelfTaughtLearner", "compute_features"]
