"""Self-taught training by Ray Train: a process a worker, all of them one torch process group."""

from __future__ import annotations

import copy
import tempfile
import threading
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastclust import progress
from fastclust.distributed.board import Board, Teller
from fastclust.distributed.pool import HERE, check_workers, connect, nodes
from fastclust.distributed.threads import limited
from fastclust.errors import FastclustError, InputError, InternalError, OperationCancelledError, UnavailableError

if TYPE_CHECKING:
    import os

    from fastclust.learning import SelfTaughtLearner
    from fastclust.learning.inputs import Inputs

__all__ = ["fine_tune", "train"]

#: Seconds between two looks at the board, and that a stopped training is waited for.
_LOOK, _LAST = 0.2, 30.0
#: How often a training is begun again because a worker or its node was lost.
_AGAIN = 8
#: How often Ray Train looks for room for the workers, for a minute each.
_STARTS = 4
#: Of a processor, what Ray is asked for: workers are spread over the nodes, and may share one when another is lost.
_SHARE = 0.01


def train(
    learner: SelfTaughtLearner,
    X: Any,
    *,
    views: Any = None,
    image_shape: Any = None,
    checkpoint: str | os.PathLike[str] | None = None,
    log: Any = None,
    address: str | None = None,
    n_workers: int | str = "auto",
    threads: int | None = None,
) -> SelfTaughtLearner:
    """Do what ``learner.fit(X)`` does, by Ray Train; return the learner, fitted.

    Every worker holds all rows and does its share of ``accumulate * n_workers`` batches a step; gradients are averaged
    by torch.distributed (gloo). The encoder's start and the neighbour graph of an epoch are made by the first worker
    and shared. It is what one process learns that accumulates as many batches, but for the last bits of sums.

    When a worker or its node is lost, all begin again: from the checkpoint where there is one.

    Parameters
    ----------
    learner
        A :class:`fastclust.SelfTaughtLearner`; it gets its fitted attributes, ``n_workers_``, and ``n_repeated_``: how
        often the training was begun again.
    X, views, image_shape, log
        As for its ``fit``. Rows are read here and kept in the cluster's object store.
    checkpoint
        As for its ``fit``; a folder that all nodes see by this name, for nodes that are lost.
    address, n_workers, threads
        As for :class:`fastclust.distributed.KMeans`; "auto" is a worker a node.

    Raises
    ------
    InputError, InputTypeError, PreconditionError, MissingPackageError, OperationCancelledError
        As its ``fit``.
    UnavailableError
        The cluster cannot be reached, has no room for the workers in some minutes, or loses them again and again.
    """
    from fastclust.learning.checks import check_params
    from fastclust.learning.encoders import features_of
    from fastclust.learning.inputs import read_inputs

    check_workers(n_workers, threads)
    check_params(learner)
    inputs = read_inputs(X, views, image_shape, features=features_of(learner.encoder))
    on = {"address": address, "n_workers": n_workers, "threads": threads}
    return _trained("fit", learner, inputs, {}, checkpoint, log, **on)


def fine_tune(
    learner: SelfTaughtLearner,
    X: Any,
    labels: Any,
    *,
    loss: str = "contrastive",
    epochs: int | str = "auto",
    views: Any = None,
    image_shape: Any = None,
    checkpoint: str | os.PathLike[str] | None = None,
    log: Any = None,
    address: str | None = None,
    n_workers: int | str = "auto",
    threads: int | None = None,
) -> SelfTaughtLearner:
    """Do what ``learner.fine_tune(X, labels)`` does, as :func:`train` does; the same parameters and errors."""
    from sklearn.utils.validation import check_is_fitted

    from fastclust.learning.checks import check_params
    from fastclust.learning.inputs import check_labels

    check_workers(n_workers, threads)
    check_is_fitted(learner, "encoder_")
    check_params(learner, epochs)
    inputs = learner.inputs(X, views, image_shape)
    more = {"labels": check_labels(labels, len(inputs.rows)), "loss": loss, "epochs": epochs}
    on = {"address": address, "n_workers": n_workers, "threads": threads}
    return _trained("fine_tune", learner, inputs, more, checkpoint, log, **on)


def _trained(
    method: str,
    learner: SelfTaughtLearner,
    inputs: Inputs,
    more: dict[str, Any],
    checkpoint: Any,
    log: Any,
    *,
    address: str | None,
    n_workers: int | str,
    threads: int | None,
) -> SelfTaughtLearner:
    from fastclust.learning.features import FeatureSet
    from fastclust.learning.seeds import seed_of
    from fastclust.learning.sessions import figures_to

    if checkpoint is not None and not isinstance(learner.random_state, Integral):
        raise InputError("random_state", repr(learner.random_state), "an integer, for a checkpoint")
    rows = FeatureSet(inputs.rows, inputs.views, inputs.features, inputs.image_size, inputs.image_shape)
    # All workers draw from one seed.
    asked = copy.copy(learner)
    asked.random_state = seed_of(learner.random_state)
    more = {**more, "checkpoint": None if checkpoint is None else str(Path(checkpoint).absolute())}
    many = nodes(address) if n_workers == "auto" else int(n_workers)
    if address == HERE:
        asked = copy.deepcopy(asked)
        asked.accumulate *= many
        with limited(threads):
            getattr(asked, method)(rows, log=log, **more)
        fitted, again = _fitted(asked), 0
    else:
        record, close = figures_to(log)
        try:
            fitted, again = _Training(address, many).run(
                (method, asked, rows, more, threads, record is not None), record
            )
        finally:
            close()
    vars(learner).update(fitted, n_workers_=many, n_repeated_=again)
    return learner


def _fitted(learner: SelfTaughtLearner) -> dict[str, Any]:
    """What a fit leaves in a learner."""
    return {name: value for name, value in vars(learner).items() if name not in learner.get_params(deep=False)}


class _Training:
    """One training on a cluster: attempts of Ray Train, and the board that they tell."""

    def __init__(self, address: str | None, many: int) -> None:
        self._ray, self._many = connect(address), many
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        near = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        self._board = self._ray.remote(num_cpus=0, scheduling_strategy=near)(Board).remote()

    def run(self, task: tuple[Any, ...], record: Any) -> tuple[dict[str, Any], int]:
        """Train; return what a fit leaves, and how often it was begun again."""
        from ray.train import WorkerGroupError

        config = {"board": self._board, "task": [self._ray.put(task)]}
        try:
            for again in range(_AGAIN + 1):
                failed = self._attempt(config, record)
                ended = self._ray.get(self._board.ended.remote())
                if isinstance(ended, FastclustError):
                    raise ended
                if ended is not None:
                    return ended, again
                if not isinstance(failed, WorkerGroupError):
                    raise UnavailableError(f"Ray Train could not run {self._many} workers: {_said(failed)}") from failed
            raise UnavailableError(f"workers were lost {_AGAIN + 1} times, the last time: {_said(failed)}") from failed
        finally:
            self._ray.kill(self._board)

    def _attempt(self, config: dict[str, Any], record: Any) -> Exception | None:
        """Run all workers once, and pass on what they tell; return why it failed."""
        found: list[Exception] = []
        with tempfile.TemporaryDirectory() as folder:
            trainer = self._trainer(config, folder)

            def fit() -> None:
                try:
                    trainer.fit()
                except Exception as error:  # noqa: BLE001 - it is the other thread's to judge
                    found.append(error)

            # In the main thread Ray Train would take SIGINT for itself, for good.
            thread = threading.Thread(target=fit, name="ray-train", daemon=True)
            thread.start()
            try:
                while thread.is_alive():
                    thread.join(_LOOK)
                    self._pass_on(record)
                self._pass_on(record)
            except BaseException:
                self._board.stop.remote()
                thread.join(_LAST)
                raise
        return found[0] if found else None

    def _pass_on(self, record: Any) -> None:
        told, figures = self._ray.get(self._board.hear.remote())
        for figure in figures:
            record(*figure)
        if told is not None:
            progress.report(told.step, told.fraction, 1.0, told.message)

    def _trainer(self, config: dict[str, Any], folder: str) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        return TorchTrainer(
            _work,
            train_loop_config=config,
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(
                num_workers=self._many, resources_per_worker={"CPU": _SHARE}, placement_strategy="SPREAD"
            ),
            run_config=RunConfig(
                storage_path=folder, failure_config=FailureConfig(max_failures=0, controller_failure_limit=_STARTS)
            ),
        )


def _work(config: dict[str, Any]) -> None:
    """What a worker does: the learner's own training, within the process group that Ray Train made."""
    import ray

    from fastclust.learning import ranks

    board = config["board"]
    method, learner, rows, more, threads, logged = ray.get(config["task"][0])
    # What comes from the object store may not be written to, and torch wants what may.
    rows = replace(rows, values=np.array(rows.values), views=None if rows.views is None else np.array(rows.views))
    first = ranks.rank() == 0
    teller = Teller(board)
    try:
        with limited(threads), progress.listening(teller.listen if first else None):
            getattr(learner, method)(rows, log=teller.figure if first and logged else None, **more)
        if first:
            teller.send()
            ray.get(board.end.remote(_fitted(learner)))
    except OperationCancelledError:
        raise
    except FastclustError as error:
        ray.get(board.end.remote(error))
        raise
    except RuntimeError:
        # Also what torch raises where another worker was lost.
        raise
    except Exception as error:
        ray.get(board.end.remote(InternalError(f"a worker failed: {error!r}")))
        raise


def _said(error: Exception | None) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)
