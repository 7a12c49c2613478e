"""What a trainer is told."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastclust.learning.learner import SelfTaughtLearner

__all__ = ["OBJECTIVES", "Plan", "plan_of"]

#: Steps that "auto" aims at, and the most epochs it takes for that.
_STEPS, _MOST_EPOCHS = 1500, 6
#: Learning rates that "auto" takes, and for a mined objective.
_RATE, _MINED_RATE = 1e-3, 1e-4
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


def plan_of(
    learner: SelfTaughtLearner, n_rows: int, seed: int, epochs: int | str | None = None, objective: str | None = None
) -> Plan:
    """Return the plan of a learner for ``n_rows`` rows; ``epochs`` and ``objective`` in place of its own, if given."""
    n_nearest = min(learner.n_nearest, n_rows)
    n_queries = min(max(1, learner.batch_size // n_nearest), n_rows)
    wanted = learner.epochs if epochs is None else epochs
    if isinstance(wanted, str):
        per_epoch = max(1, n_rows // n_queries)
        wanted = min(max(1, round(_STEPS / per_epoch)), _MOST_EPOCHS)
    given = {field.name: getattr(learner, field.name) for field in fields(Plan) if hasattr(learner, field.name)}
    given["objective"] = objective or learner.objective
    if isinstance(learner.learning_rate, str):
        given["learning_rate"] = _RATE if given["objective"] == "self_taught" else _MINED_RATE
    return Plan(**{**given, "epochs": wanted, "n_queries": n_queries, "n_nearest": n_nearest, "seed": seed})
