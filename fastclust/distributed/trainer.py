"""The trainer that Ray Train is given: what its workers do, and who may stop them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastclust import progress
from fastclust.distributed.board import Teller
from fastclust.distributed.threads import limited
from fastclust.errors import FastclustError, InternalError, OperationCancelledError

if TYPE_CHECKING:
    from fastclust.learning import SelfTaughtLearner
    from fastclust.learning.features import FeatureSet

__all__ = ["Task", "fitted_of", "trainer_of"]

#: How often Ray Train looks for room for the workers, for a minute each.
_STARTS = 4
#: Seconds that workers wait for each other: while the first builds a graph the others do nothing. One that is lost is
#: known by its connection, and at once.
_WAIT = 24 * 3600
#: Of a processor, what Ray is asked for: workers are spread over the nodes, and may share one when another is lost.
_SHARE = 0.01


class Task(NamedTuple):
    """What all workers do."""

    #: "fit" or "fine_tune", of the learner, with the rows and more arguments.
    method: str
    learner: SelfTaughtLearner
    rows: FeatureSet
    more: dict[str, Any]
    threads: int | None
    #: Whether anybody wants figures.
    logged: bool


def fitted_of(learner: SelfTaughtLearner) -> dict[str, Any]:
    """What a fit leaves in a learner."""
    params = learner.get_params(deep=False)
    return {name: value for name, value in vars(learner).items() if name not in params}


def trainer_of(config: dict[str, Any], many: int, folder: str) -> Any:
    """Make the trainer of ``many`` workers, for the board and the task in ``config``; ``folder`` is Ray Train's own."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    class Trainer(TorchTrainer):
        # One of Ray Train's own callbacks starts an actor that outlives the driver: for good where the cluster has no
        # dashboard to ask who is alive. What it would free is free when the driver has ended.
        def _create_default_callbacks(self) -> list[Any]:
            parent: Any = super()
            made = parent._create_default_callbacks()  # noqa: SLF001 - where Ray has it no longer, nobody asks us
            return [one for one in made if type(one).__name__ != "PlacementGroupCleanerCallback"]

    # Types are told of Ray Train's first version, which lacks the second.
    failures = FailureConfig(max_failures=0, controller_failure_limit=_STARTS)  # type: ignore[call-arg]
    return Trainer(
        _work,
        train_loop_config=config,
        torch_config=TorchConfig(backend="gloo", timeout_s=_WAIT),
        scaling_config=ScalingConfig(
            num_workers=many, resources_per_worker={"CPU": _SHARE}, placement_strategy="SPREAD"
        ),
        run_config=RunConfig(storage_path=folder, failure_config=failures, callbacks=[_leading(config["board"])]),
    )


def _leading(board: Any) -> Any:
    """What Ray Train's controller, the actor that has the workers, does when it starts: it makes itself known."""
    from ray.train.v2._internal.execution.callback import ControllerCallback

    class Leading(ControllerCallback):
        def after_controller_start(self, train_run_context: Any) -> None:
            import ray

            del train_run_context
            if ray.get(board.lead.remote(ray.get_runtime_context().current_actor)):
                raise OperationCancelledError("the training was stopped.")

    return Leading()


def _work(config: dict[str, Any]) -> None:
    """What a worker does: the learner's own training, within the process group that Ray Train made."""
    import ray

    from fastclust.learning import ranks

    board = config["board"]
    if ray.get(board.tell.remote(None, [])):
        raise OperationCancelledError("the training was stopped.")
    task: Task = ray.get(config["task"][0])
    learner, rows = task.learner, task.rows
    # What comes from the object store may not be written to, and torch wants what may.
    rows = replace(rows, values=np.array(rows.values), views=None if rows.views is None else np.array(rows.views))
    first = ranks.rank() == 0
    teller = Teller(board)
    try:
        with limited(task.threads), progress.listening(teller.listen if first else None):
            getattr(learner, task.method)(rows, log=teller.figure if first and task.logged else None, **task.more)
        if first:
            teller.send()
            ray.get(board.end.remote(fitted_of(learner)))
    except OperationCancelledError:
        raise
    except FastclustError as error:
        ray.get(board.end.remote(error))
        raise
    except RuntimeError:
        # For one, what torch raises where another worker was lost: the driver looks at what became of all.
        raise
    except Exception as error:
        ray.get(board.end.remote(InternalError(f"a worker failed: {error!r}")))
        raise
