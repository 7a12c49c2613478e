"""What a trainer is told."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OBJECTIVES", "Plan"]

OBJECTIVES = ("self_taught", "manifold_triplet", "manifold_contrastive")


@dataclass(frozen=True, slots=True)
class Plan:
    """Names as in :class:`fastclust.SelfTaughtLearner`."""

    epochs: int
    n_queries: int
    n_nearest: int
    n_views: int
    sigma: float
    margin: float
    temperature: float
    context_weight: float
    learning_rate: float
    weight_decay: float
    momentum: float
    seed: int
    objective: str = "self_taught"
    accumulate: int = 1
    precision: str = "full"
    #: Parts of the self-taught loss, for ablations: W^C, g, and the distillation.
    use_context: bool = True
    use_g: bool = True
    use_distillation: bool = True
