"""k-means on a Ray cluster of two local nodes: the bits of one process, a worker's memory, a node that is killed."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import datasets
from bench.local_cluster import local_cluster, watched_workers
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CASE"]

_ITERATIONS = 10
_NEEDS = ("ray",)


@dataclass
class _Data:
    path: Path
    #: Few rows, on which workers load and compile all that they will.
    few: Path
    start: Any
    memory: int | None
    folder: tempfile.TemporaryDirectory[str]
    #: The same stretches in one process, and all rows in one.
    reference: Any = None
    whole: Any = None
    #: Seconds from the kill to the end.
    seconds: float = 0.0


def _load(n: int, d: int, k: int, share: float | None) -> _Data:
    rows = datasets.clustered(n, d, k, spread=0.7)
    folder = tempfile.TemporaryDirectory(prefix="fastclust-bench-")
    path, few = Path(folder.name) / "rows.npy", Path(folder.name) / "few.npy"
    np.save(path, rows)
    np.save(few, rows[:8192])
    start = rows[np.random.default_rng(0).choice(n, k, replace=False)]
    memory = None if share is None else int(rows.nbytes / share)
    return _Data(path, few, start, memory, folder)


def _model(data: _Data, workers: int, **more: Any) -> Any:
    from fastclust import distributed

    given = {"init": data.start, "n_init": 1, "max_iter": _ITERATIONS, "tol": 0, "algorithm": "lloyd"}
    return distributed.KMeans(len(data.start), **given, n_workers=workers, memory=data.memory, **more)


def _there(workers: int, data: _Data) -> Callable[[], Any]:
    local_cluster()
    return lambda: _model(data, workers, threads=1).fit(data.path)


def _one_process(data: _Data) -> Callable[[], Any]:
    from fastclust import KMeans

    rows = np.load(data.path)
    model = KMeans(len(data.start), init=data.start, n_init=1, max_iter=_ITERATIONS, tol=0, algorithm="lloyd")
    return lambda: model.fit(rows)


def _gate(data: _Data, model: Any) -> Verdict:
    """Against the same stretches in one process, to the bit, and against all rows in one."""
    if data.reference is None:
        data.reference = _model(data, getattr(model, "n_workers_", 2), address="here").fit(data.path)
        data.whole = _one_process(data)()
    apart = abs(model.inertia_ - data.whole.inertia_) / data.whole.inertia_
    same = (
        model is data.whole
        or not hasattr(model, "n_workers_")
        or (
            np.array_equal(model.cluster_centers_, data.reference.cluster_centers_)
            and np.array_equal(model.labels_, data.reference.labels_)
            and model.inertia_ == data.reference.inertia_
        )
    )
    said = "the bits of the same stretches in one process" if same else "other bits than the same stretches"
    return Verdict(bool(same and apart <= 1e-6), f"inertia {apart:.0e} from all rows in one (at most 1e-6), {said}")


def _held(data: _Data, model: Any) -> dict[str, float]:
    """The most that a worker takes above what one with only few rows has in the end, when all is loaded."""
    if not hasattr(model, "n_workers_"):
        return {}
    with watched_workers("Shard") as few:
        _model(data, 2, threads=1).fit(data.few)
    with watched_workers("Shard") as all_:
        _model(data, 2, threads=1).fit(data.path)
    return {"worker_bytes": float(max(0, all_[0] - few[1]))}


def _killed(data: _Data) -> Callable[[], Any]:
    from fastclust import progress

    cluster = local_cluster()

    def fit() -> Any:
        node, at = cluster.add(), []
        iterations: list[str] = []

        def listen(told: progress.Progress) -> None:
            if told.step == "kmeans":
                iterations.append(told.message)
            elif told.step == "pass" and len(iterations) == 4 and not at:
                at.append(time.monotonic())
                cluster.kill(node)

        with progress.listening(listen):
            model = _model(data, 6, threads=1).fit(data.path)
        data.seconds = time.monotonic() - at[0]
        # An iteration is one call of each worker.
        model.again_ = model.n_repeated_ / model.n_workers_
        return model

    return fit


def _after(data: _Data, model: Any) -> dict[str, float]:
    return {"seconds_after": data.seconds, "iterations_again": model.again_}


def _problems(size: str) -> Sequence[Problem]:
    n, d, k = (1_000_000, 128, 256) if size == "full" else (200_000, 32, 64)
    about = f"{n}x{d} k={k}, {_ITERATIONS} iterations"
    ours = lambda workers: Contender(OURS, lambda data: _there(workers, data), _NEEDS)  # noqa: E731 - a short recipe
    return [
        Problem(
            f"two nodes, clustered {about}",
            lambda: _load(n, d, k, None),
            [ours(2), Contender("one process", _one_process, remark="ours; all threads, no start of workers")],
            _gate,
            rounds=3,
        ),
        Problem(
            f"two workers with an eighth of the rows' size as memory, clustered {about}",
            lambda: _load(n, d, k, 8.0),
            [ours(2)],
            _gate,
            figures=_held,
            targets=[
                Target("rows of 8x a worker's memory, held", 4 * n * d / 8 + 4 * n, figure="worker_bytes", at_most=True)
            ],
            rounds=2,
        ),
        Problem(
            f"a node is killed in iteration 5, clustered {about}",
            lambda: _load(n, d, k, None),
            [Contender(OURS, _killed, _NEEDS)],
            _gate,
            figures=_after,
            targets=[
                Target("killed node: finished within 60 s", 60.0, figure="seconds_after", at_most=True),
                Target("killed node: at most one iteration again", 1.0, figure="iterations_again", at_most=True),
            ],
            once=True,
        ),
    ]


CASE = Case("ray", "k-means on a Ray cluster of two local nodes", _problems)
