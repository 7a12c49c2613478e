"""k-means on rows that stay in their file, beside the same rows in memory: the same bits, within the memory allowed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import datasets
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fastclust import KMeans

__all__ = ["CASE"]

_ITERATIONS = 10
_MEMORY = 64_000_000


@dataclass
class _Data:
    rows: NDArray[np.float32]
    start: NDArray[np.float32]
    path: Path
    #: Holds the file until the data go.
    folder: tempfile.TemporaryDirectory[str]
    #: The fit in memory, which runs first.
    reference: KMeans | None = None
    figures: dict[str, float] = field(default_factory=dict)


def _load(rows: NDArray[np.float32], k: int) -> _Data:
    # In the temporary folder, written and read once: in the system's cache, where that has room for it.
    folder = tempfile.TemporaryDirectory(prefix="fastclust-bench-")
    path = Path(folder.name) / "rows.npy"
    np.save(path, rows)
    path.read_bytes()
    start = rows[np.random.default_rng(0).choice(len(rows), k, replace=False)]
    return _Data(rows, start, path, folder)


def _model(data: _Data) -> Any:
    from fastclust import KMeans

    return KMeans(len(data.start), init=data.start, n_init=1, max_iter=_ITERATIONS, tol=0, algorithm="lloyd")


def _in_memory(data: _Data) -> Callable[[], Any]:
    return lambda: _model(data).fit(data.rows)


def _streamed(data: _Data) -> Callable[[], Any]:
    from fastclust import open_rows

    return lambda: _model(data).fit(open_rows(data.path, memory=_MEMORY))


def _gate(data: _Data, model: Any) -> Verdict:
    if data.reference is None:
        data.reference = model
    same = (
        np.array_equal(model.cluster_centers_, data.reference.cluster_centers_)
        and np.array_equal(model.labels_, data.reference.labels_)
        and (model.inertia_, model.n_iter_) == (data.reference.inertia_, data.reference.n_iter_)
    )
    return Verdict(bool(same), "the bits of rows in memory" if same else "other bits than rows in memory")


def _problem(name: str, rows: Callable[[], NDArray[np.float32]], shape: tuple[int, int, int]) -> Problem:
    n, d, k = shape
    return Problem(
        f"streamed, {name} {n}x{d} k={k}, {_ITERATIONS} iterations, {4 * n * d / _MEMORY:.1f}x the memory allowed",
        lambda: _load(rows(), k),
        [
            Contender("in memory", _in_memory, remark="ours"),
            Contender(OURS, _streamed, remark=f'open_rows(..., memory="{_MEMORY // 10**6}MB")'),
        ],
        _gate,
        # Every iteration and the labels at the end read the rows once.
        bytes=4.0 * n * d * (_ITERATIONS + 1),
        ceilings={"file-read": {}},
        targets=[
            Target("80 % of the speed in memory", 0.8, peer="in memory"),
            # The labels of all rows come on top.
            Target(
                "memory: within the limit given to open_rows",
                _MEMORY + 4 * n,
                figure="peak_memory_bytes",
                at_most=True,
            ),
        ],
        rounds=5,
        seconds=30.0,
    )


def _problems(size: str) -> Sequence[Problem]:
    if size == "small":
        n = 300_000
        return [_problem("clustered", lambda: datasets.clustered(n, 128, 64, spread=0.7), (n, 128, 64))]
    n = 2_000_000
    return [
        _problem("clustered", lambda: datasets.clustered(n, 128, 256, spread=0.7), (n, 128, 256)),
        _problem("clustered", lambda: datasets.clustered(n, 128, 256, spread=0.7), (n, 128, 16)),
    ]


CASE = Case("out-of-core", "k-means on rows that are read from a file in every iteration", _problems)
