"""How workers are waited for, without a cluster."""

from types import SimpleNamespace

import pytest

from fastclust import progress
from fastclust.distributed.pool import HERE, Pool, open_workers
from fastclust.errors import OperationCancelledError


class Silent:
    """Stands for Ray, where no worker ever answers."""

    def wait(self, references, **_):
        return [], references


def stopping(after):
    """A check that raises at its call number ``after``."""
    calls = iter(range(after))

    def check():
        if next(calls, None) is None:
            raise OperationCancelledError("enough")

    return check


def test_workers_at_a_call_that_does_not_end_are_let_go_of_when_the_work_shall_stop():
    worker = SimpleNamespace(call=SimpleNamespace(remote=lambda *_: object()))
    pool = object.__new__(Pool)
    pool._ray, pool._actors, pool._held, pool.repeated = Silent(), [worker, worker], [(None, [])] * 2, 0
    with progress.listening(None, check=stopping(3)), pytest.raises(OperationCancelledError, match="enough"):
        next(pool.each("anything"))


def test_workers_in_this_process_are_not_asked_when_the_work_shall_stop():
    workers = open_workers(lambda: SimpleNamespace(one=lambda: 1), [(), ()], HERE)
    with progress.listening(None, check=stopping(1)):
        asked = workers.each("one")
        assert next(asked) == (0, 1)
        with pytest.raises(OperationCancelledError):
            next(asked)
