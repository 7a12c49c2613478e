"""The whole run, resumable step by step: images or vectors in; metric, neighbours, clusters, map and report out."""

from fastclust.pipeline.context import Trainer
from fastclust.pipeline.runner import RunResult, run
from fastclust.pipeline.steps import STEPS, Step

__all__ = ["STEPS", "RunResult", "Step", "Trainer", "run"]
