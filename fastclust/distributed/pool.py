"""Workers of a Ray cluster, asked again when they or their node are lost; or the same workers in this process."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Protocol

from fastclust import progress
from fastclust.cluster.base import check_integer
from fastclust.errors import FastclustError, InternalError, MissingPackageError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["HERE", "Here", "Pool", "Workers", "check_workers", "nodes", "open_workers"]

#: The address of workers in this process: what a cluster computes, to the bit, without one.
HERE = "here"
#: Seconds between two attempts to reach a worker, and after which one that does not come back is given up.
_PAUSE, _PATIENCE = 0.25, 300.0
#: Seconds between two looks at whether the work shall stop, while workers are waited for.
_LOOK = 0.25


class Workers(Protocol):
    """What the estimators ask of their workers."""

    #: How many calls were made again because a worker was lost.
    repeated: int

    def __len__(self) -> int:
        """How many there are."""

    def each(
        self, method: str, *common: Any, own: Sequence[tuple[Any, ...]] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Call ``method`` of every worker with ``common`` and its own arguments; yield as results come.

        Stops where :func:`fastclust.progress.check` does.
        """

    def spread(self, method: str, tasks: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Call ``method`` once for each task, of whichever worker is free; yield as results come."""

    def share(self, value: Any) -> Any:
        """Put a value where each worker can get it by ``received``."""

    def close(self) -> None:
        """Let go of the workers."""


def open_workers(make: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], address: str | None) -> Workers:
    """Start one for each of ``arguments``: on the cluster at ``address``, one that Ray finds or starts, or "here"."""
    return Here(make, arguments) if address == HERE else Pool(make, arguments, address)


def check_workers(n_workers: int | str, threads: int | None) -> None:
    """Raise InputError unless workers and their threads are integers of at least 1, "auto" and None apart."""
    if not (isinstance(n_workers, str) and n_workers == "auto"):
        check_integer("n_workers", n_workers)
    if threads is not None:
        check_integer("threads", threads)


def nodes(address: str | None) -> int:
    """How many nodes of the cluster have processors; 1 here. Raises MissingPackageError, UnavailableError."""
    if address == HERE:
        return 1
    ray = connect(address)
    return max(1, sum(bool(node["Alive"] and node["Resources"].get("CPU")) for node in ray.nodes()))


def connect(address: str | None) -> Any:
    """Import ray; connect to a cluster unless this process has one. Raises MissingPackageError, UnavailableError."""
    try:
        import ray
    except ImportError as error:
        raise MissingPackageError('Clusters need ray. Run: pip install "fastclust[ray]"') from error
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UnavailableError(f"ray at {address or 'this machine'}: {str(error).splitlines()[0]}") from error
    return ray


def received(value: Any) -> Any:
    """In a worker: what was shared, ``[value]``, by its reference or as it is."""
    (inside,) = value
    if type(inside).__name__ != "ObjectRef":
        return inside
    import ray

    return ray.get(inside)


class _Shell:
    """An actor around a worker that is made at the first call, from references that come with each.

    Ray starts an actor again without us; it warns, at every start, of one whose own arguments lie in the object store.
    """

    def __init__(self) -> None:
        self._inside: Any = None

    def call(self, make: Callable[..., Any], arguments: list[Any], method: str, given: tuple[Any, ...]) -> Any:
        """Call a method of the worker inside."""
        import ray

        if self._inside is None:
            self._inside = make(*ray.get(arguments))
        return getattr(self._inside, method)(*given)


class Pool:
    """Actors, spread over the nodes. One that is lost is started again by Ray elsewhere, and asked again from here."""

    def __init__(self, make: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], address: str | None) -> None:
        self._ray = connect(address)
        # Called as what it holds, by which its process is known.
        shell = type(make.__name__, (_Shell,), {})
        self._make = self._ray.remote(max_restarts=-1, max_task_retries=0, scheduling_strategy="SPREAD")(shell)
        # Held here, so that a worker can be started again from them.
        self._held = [(make, [self._ray.put(value) for value in given]) for given in arguments]
        self._actors = [self._make.remote() for _ in arguments]
        self.repeated = 0

    def __len__(self) -> int:
        return len(self._actors)

    def share(self, value: Any) -> Any:
        """Put a value into the object store of the driver's node, which outlives the workers'."""
        return [self._ray.put(value)]

    def each(
        self, method: str, *common: Any, own: Sequence[tuple[Any, ...]] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Call every worker."""
        calls = [(number, (*common, *(own[number] if own else ()))) for number in range(len(self))]
        yield from self._run(method, calls, [number for number, _ in calls])

    def spread(self, method: str, tasks: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Call whichever worker is free."""
        yield from self._run(method, list(enumerate(tasks)), None)

    def _run(
        self, method: str, calls: list[tuple[int, tuple[Any, ...]]], owners: list[int] | None
    ) -> Iterator[tuple[int, Any]]:
        waiting = list(reversed(calls))
        free = set(range(len(self)))
        going: dict[Any, tuple[int, tuple[Any, ...], int]] = {}
        lost: dict[int, float] = {}
        while waiting or going:
            held: list[tuple[int, tuple[Any, ...]]] = []
            while waiting and free:
                number, given = waiting.pop()
                # A worker that was lost is asked last.
                worker = min(free, key=lambda one: (one in lost, one)) if owners is None else owners[number]
                if worker not in free:
                    held.append((number, given))
                    continue
                free.discard(worker)
                call = self._actors[worker].call.remote(*self._held[worker], method, given)
                going[call] = number, given, worker
            waiting += reversed(held)
            done, _ = self._ray.wait(list(going), num_returns=1, timeout=_LOOK)
            progress.check()
            for reference in done:
                number, given, worker = going.pop(reference)
                free.add(worker)
                try:
                    result = self._ray.get(reference)
                except self._ray.exceptions.RayTaskError as error:
                    raise _ours(error) from error
                except self._ray.exceptions.RayError as error:
                    self._again(worker, error, lost)
                    waiting.append((number, given))
                    continue
                lost.pop(worker, None)
                yield number, result

    def _again(self, worker: int, error: Exception, lost: dict[int, float]) -> None:
        """Note that a worker is lost; start another in its place where Ray does not. Raises UnavailableError."""
        if worker not in lost:
            self.repeated += 1
        since = lost.setdefault(worker, time.monotonic())
        if time.monotonic() - since > _PATIENCE:
            raise UnavailableError(
                f"worker {worker} of {len(self)} did not come back in {_PATIENCE:.0f} s: {str(error).splitlines()[0]}"
            ) from error
        if isinstance(error, self._ray.exceptions.ActorDiedError):
            self._actors[worker] = self._make.remote()
        time.sleep(_PAUSE)

    def close(self) -> None:
        """End the actors, whatever they are at; the connection stays."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors, self._held = [], []


class Here:
    """Workers in this process, one after the other."""

    repeated = 0

    def __init__(self, make: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> None:
        self._workers = [make(*given) for given in arguments]

    def __len__(self) -> int:
        return len(self._workers)

    def share(self, value: Any) -> Any:
        """Return it as workers receive it."""
        return [value]

    def each(
        self, method: str, *common: Any, own: Sequence[tuple[Any, ...]] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Call every worker."""
        for number, worker in enumerate(self._workers):
            progress.check()
            yield number, getattr(worker, method)(*common, *(own[number] if own else ()))

    def spread(self, method: str, tasks: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Call the workers in turn."""
        for number, given in enumerate(tasks):
            progress.check()
            yield number, getattr(self._workers[number % len(self)], method)(*given)

    def close(self) -> None:
        """Let go of them."""
        self._workers = []


def _ours(error: Any) -> FastclustError:
    """The error that a worker raised, or one that says it was none of ours."""
    cause = error.cause
    if isinstance(cause, FastclustError):
        return cause
    return InternalError(f"a worker failed: {cause!r}")
