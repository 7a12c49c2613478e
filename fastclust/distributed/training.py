"""Self-taught training by Ray Train: a process a worker, all of them one torch process group."""

from __future__ import annotations

import copy
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastclust.distributed.attempts import Attempts
from fastclust.distributed.pool import HERE, check_workers, nodes
from fastclust.distributed.threads import limited
from fastclust.distributed.trainer import Task, fitted_of
from fastclust.errors import BackendError, InputError

if TYPE_CHECKING:
    import os

    from fastclust.learning import SelfTaughtLearner
    from fastclust.learning.inputs import Inputs

__all__ = ["fine_tune", "train"]


def _check_here(learner: SelfTaughtLearner) -> None:
    """Raise BackendError for a learner that is to be trained on a GPU."""
    from fastclust.learning.devices import choose_device

    if choose_device(learner.device).type != "cpu":
        raise BackendError(
            f"device={learner.device!r}: workers train on CPUs in this version. Allowed: auto, cpu; for many GPUs, "
            "fit in a process group of torch (torchrun)."
        )


class _On(NamedTuple):
    """Where a training runs."""

    address: str | None
    n_workers: int | str
    threads: int | None


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
        As for its ``fit``: rows float32 ``[n, d]`` or images. They are read here and kept in
        the cluster's object store.
    checkpoint
        As for its ``fit``; a folder that all nodes see by this name, for nodes that are lost.
    address, n_workers, threads
        As for :class:`fastclust.distributed.KMeans`; "auto" is a worker a node.

    Raises
    ------
    InputError, InputTypeError, PreconditionError, MissingPackageError, OperationCancelledError
        As its ``fit``.
    BackendError
        The learner asks for a device that is not the CPU.
    UnavailableError
        The cluster cannot be reached, has no room for the workers in some minutes, or loses them again and again.
    """
    from fastclust.learning.checks import check_params
    from fastclust.learning.encoders import features_of
    from fastclust.learning.inputs import read_inputs

    check_workers(n_workers, threads)
    _check_here(learner)
    check_params(learner)
    inputs = read_inputs(X, views, image_shape, features=features_of(learner.encoder))
    on = _On(address, n_workers, threads)
    return _trained("fit", learner, inputs, {}, checkpoint, log, on)


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
    """Do what ``learner.fine_tune(X, labels)`` does, as :func:`train` does, with the same parameters.

    ``X`` is float32 ``[n, d]`` or images, ``labels`` int ``[n]``, -1 where unknown. Raises InputError, InputTypeError,
    and what :func:`train` does.
    """
    from sklearn.utils.validation import check_is_fitted

    from fastclust.learning.checks import check_loss, check_params
    from fastclust.learning.inputs import check_labels

    check_workers(n_workers, threads)
    check_is_fitted(learner, "encoder_")
    _check_here(learner)
    check_params(learner, epochs)
    check_loss(loss)
    learner._to("cpu")  # noqa: SLF001 - workers train it there
    inputs = learner.inputs(X, views, image_shape)
    more = {"labels": check_labels(labels, len(inputs.rows)), "loss": loss, "epochs": epochs}
    on = _On(address, n_workers, threads)
    return _trained("fine_tune", learner, inputs, more, checkpoint, log, on)


def _trained(
    method: str,
    learner: SelfTaughtLearner,
    inputs: Inputs,
    more: dict[str, Any],
    checkpoint: Any,
    log: Any,
    on: _On,
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
    many = nodes(on.address) if on.n_workers == "auto" else int(on.n_workers)
    if on.address == HERE:
        asked = copy.deepcopy(asked)
        asked.accumulate *= many
        with limited(on.threads):
            getattr(asked, method)(rows, log=log, **more)
        fitted, again = fitted_of(asked), 0
    else:
        record, close = figures_to(log)
        try:
            task = Task(method, asked, rows, more, on.threads, logged=record is not None)
            fitted, again = Attempts(on.address, many).run(task, record)
        finally:
            close()
    learner.__dict__.update(fitted, n_workers_=many, n_repeated_=again)
    return learner
