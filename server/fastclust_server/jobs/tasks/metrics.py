"""The metric that a spec names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastclust.metric import MahalanobisMetric
    from fastclust.v1.spec_pb2 import MetricSpec
    from fastclust_server.jobs.work import Work

__all__ = ["FILE", "load_metric"]

#: Artifact that holds a fitted metric.
FILE = "metric.safetensors"


def load_metric(spec: MetricSpec, work: Work) -> str | MahalanobisMetric:
    """Return a metric's name, or the metric that a job fitted."""
    if spec.WhichOneof("kind") != "model":
        return spec.name or "euclidean"
    from fastclust.metric import MahalanobisMetric

    return MahalanobisMetric.load(work.artifact(spec.model, FILE))
