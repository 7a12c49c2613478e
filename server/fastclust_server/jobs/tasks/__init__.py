"""One file a kind of job: what is checked before it is accepted, and how the library is called.

Importing this loads nothing heavy; ``run`` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastclust_server.jobs.tasks import (
    choose_k,
    embed,
    evaluate,
    importing,
    insight,
    kmeans,
    mahalanobis,
    neighbors,
    pipeline,
    propagate_labels,
    train,
    tsne,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastclust_server.jobs.inputs import Inputs
    from fastclust_server.jobs.work import Work

__all__ = ["TASKS", "Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """How one kind is done."""

    #: Raises InputError, NotFoundError, ... for a spec that cannot be run.
    check: Callable[[Any, Inputs], None]
    run: Callable[[Any, Work], None]
    #: The steps that a spec asks for and that are reported, in order, with their shares of the time.
    steps: Callable[[Any], Mapping[str, float]]


def _task(module: Any) -> Task:
    """A module has ``STEPS``, and ``steps(spec)`` where a spec may leave some of them out."""
    return Task(module.check, module.run, getattr(module, "steps", lambda _: module.STEPS))


#: The kinds that this version runs, by the name of their field in JobSpec.
TASKS: dict[str, Task] = {
    module.__name__.rpartition(".")[2]: _task(module)
    for module in (
        kmeans,
        mahalanobis,
        neighbors,
        tsne,
        train,
        embed,
        evaluate,
        insight,
        choose_k,
        propagate_labels,
        pipeline,
    )
} | {"import": _task(importing)}
