"""Attempts at a training by Ray Train: begun again where workers are lost, heard and stopped through a board."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

from fastclust import progress
from fastclust.distributed.board import Board
from fastclust.distributed.pool import connect
from fastclust.distributed.trainer import trainer_of
from fastclust.errors import FastclustError, InternalError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastclust.distributed.trainer import Task

__all__ = ["Attempts"]

#: Seconds between two looks at the board; that a stopped training is waited for; and after which it is made to end.
_LOOK, _LAST, _FORCE = 0.2, 0.5, 10.0
#: How often a training is begun again because a worker or its node was lost.
_AGAIN = 8


class Attempts:
    """One training on a cluster: attempts of Ray Train, and the board that they tell."""

    def __init__(self, address: str | None, many: int) -> None:
        self._ray, self._many = connect(address), many
        #: Whether a thread sees to the end of what was stopped, and to the board's.
        self._ending = False
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        near = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        self._board = self._ray.remote(num_cpus=0, scheduling_strategy=near)(Board).remote()

    def run(self, task: Task, record: Any) -> tuple[dict[str, Any], int]:
        """Train; return what a fit leaves, and how often it was begun again."""
        from ray.train import WorkerGroupError

        config = {"board": self._board, "task": [self._ray.put(task)]}
        once = False
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
                own = _own(failed.worker_failures.values())
                if own is not None and once:
                    raise InternalError(f"a worker failed: {own!r}") from failed
                once = once or own is not None
            raise UnavailableError(f"workers were lost {_AGAIN + 1} times, the last time: {_said(failed)}") from failed
        finally:
            if not self._ending:
                self._ray.kill(self._board)

    def _attempt(self, config: dict[str, Any], record: Any) -> Exception | None:
        """Run all workers once, and pass on what they tell; return why it failed."""
        found: list[Exception] = []
        # Of a training that is stopped somebody may still write there.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            trainer = trainer_of(config, self._many, folder)

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
                    self._pass_on(record)
                    thread.join(_LOOK)
                self._pass_on(record)
            except BaseException:
                self._stop(thread)
                raise
        return found[0] if found else None

    def _stop(self, thread: threading.Thread) -> None:
        """Have the workers end, whatever they are at; return when they have, or soon."""
        self._ending = True
        threading.Thread(target=self._end, args=(thread,), name="ray-train-end", daemon=True).start()
        thread.join(_LAST)

    def _end(self, thread: threading.Thread) -> None:
        """Until a stopped training has ended: end the actor that has its workers, as soon as there is one."""
        from ray.exceptions import RayError

        leader: Any = None
        since = 0.0
        # Of a Ray that was shut down meanwhile nothing is left; without the board its workers end with the leader.
        with contextlib.suppress(RayError):
            while thread.is_alive() and self._ray.is_initialized():
                found = self._ray.get(self._board.stop.remote())
                if leader is None and found is not None:
                    leader, since = found, time.monotonic()
                    leader.abort.remote()
                if leader is not None and time.monotonic() - since > _FORCE:
                    self._ray.kill(leader)
                thread.join(_LOOK)
        if self._ray.is_initialized():
            for actor in (leader, self._board) if thread.is_alive() else (self._board,):
                with contextlib.suppress(RayError):
                    if actor is not None:
                        self._ray.kill(actor)

    def _pass_on(self, record: Any) -> None:
        """Pass on what was told. Raises what who hears it raises, and what :func:`progress.check` does."""
        heard = self._board.hear.remote()
        while not self._ray.wait([heard], timeout=_LOOK)[0]:
            progress.check()
        told, figures = self._ray.get(heard)
        progress.check()
        for figure in figures:
            record(*figure)
        if told is not None:
            progress.report(told.step, told.fraction, 1.0, told.message, bound=told.bound)


def _own(failures: Iterable[Exception]) -> Exception | None:
    """Return what a worker itself failed with; None where one was lost, which others know by their connections."""
    from ray.exceptions import RayTaskError
    from torch.distributed import DistError

    own = None
    for failure in failures:
        cause = getattr(failure, "health_check_failure", failure)
        # Whatever Ray itself says of a worker: it died, its node did, or it does not answer.
        if type(cause).__module__.split(".")[0] == "ray" and not isinstance(cause, RayTaskError):
            return None
        # Of gloo's own errors torch makes plain ones.
        if not isinstance(cause, DistError) and "gloo" not in str(cause):
            own = own or cause
    return own


def _said(error: Exception | None) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else repr(error)
