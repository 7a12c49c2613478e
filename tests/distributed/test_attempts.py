"""Which failed trainings are begun again, and how often."""

import numpy as np
import pytest
import torch
from ray.exceptions import ActorDiedError
from ray.train import WorkerGroupError

from fastclust.distributed.attempts import _AGAIN, Attempts
from fastclust.distributed.training import fine_tune
from fastclust.errors import InputError, InternalError, UnavailableError
from fastclust.learning import SelfTaughtLearner

SHAPES = RuntimeError("shapes cannot be multiplied (3x4 and 5x6)")
CLOSED = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4096")
FULL = torch.OutOfMemoryError("tried to allocate 9 GB")


class Nothing:
    """Stands for Ray, its board and a task: nobody ended, nothing is kept."""

    def __getattr__(self, _name):
        return self

    def __call__(self, *_):
        return None


@pytest.mark.parametrize(
    ("failures", "error", "words", "times"),
    [
        ({0: SHAPES}, InternalError, "shapes cannot be", 2),
        ({0: CLOSED, 1: FULL}, InternalError, "tried to allocate", 2),
        ({0: CLOSED}, UnavailableError, "workers were lost", _AGAIN + 1),
        ({0: torch.distributed.DistBackendError("timed out")}, UnavailableError, "workers were lost", _AGAIN + 1),
        ({0: SHAPES, 1: ActorDiedError()}, UnavailableError, "workers were lost", _AGAIN + 1),
    ],
)
def test_a_training_is_begun_again_where_a_worker_was_lost_and_once_where_it_failed(
    monkeypatch, failures, error, words, times
):
    seen = []

    def attempt(*_):
        seen.append(1)
        return WorkerGroupError("failed", failures)

    monkeypatch.setattr(Attempts, "_attempt", attempt)
    attempts = object.__new__(Attempts)
    attempts._ray, attempts._board, attempts._many, attempts._ending = Nothing(), Nothing(), 2, False
    with pytest.raises(error, match=words):
        attempts.run(None, None)
    assert len(seen) == times


def test_one_failure_of_a_worker_is_forgiven_among_losses_and_no_second(monkeypatch):
    kinds = iter([SHAPES, CLOSED, FULL])
    monkeypatch.setattr(Attempts, "_attempt", lambda *_: WorkerGroupError("failed", {0: next(kinds)}))
    attempts = object.__new__(Attempts)
    attempts._ray, attempts._board, attempts._many, attempts._ending = Nothing(), Nothing(), 2, False
    with pytest.raises(InternalError, match="tried to allocate"):
        attempts.run(None, None)


def test_a_loss_that_there_is_none_of_is_refused_before_the_cluster_is_looked_for():
    rows = np.random.default_rng(0).normal(size=(40, 4))
    learner = SelfTaughtLearner("linear", 2, teacher_dim=4, epochs=1, batch_size=20, random_state=0).fit(rows)
    with pytest.raises(InputError, match="loss"):
        fine_tune(learner, rows, np.arange(40) % 2, loss="bogus", address="nobody:1")
