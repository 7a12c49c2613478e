"""k-means on rows that stay in their file, beside the same rows in memory: the same bits, within the memory allowed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import datasets, machine
from bench.model import OURS, Case, Contender, Problem, Target, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fastclust import KMeans

__all__ = ["CASE"]

_ITERATIONS = 10
_HELD = "memory: within the limit given to open_rows"


@dataclass
class _Data:
    rows: NDArray[np.float32]
    start: NDArray[np.float32]
    path: Path
    #: Bytes that the streamed fit may take.
    memory: int
    #: Holds the file until the data go.
    folder: tempfile.TemporaryDirectory[str]
    #: The fit in memory, which runs first.
    reference: KMeans | None = None


def _load(rows: NDArray[np.float32], k: int, memory: int) -> _Data:
    # In the temporary folder, written and read once: in the system's cache, where that has room for it.
    folder = tempfile.TemporaryDirectory(prefix="fastclust-bench-")
    path = Path(folder.name) / "rows.npy"
    np.save(path, rows)
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass
    start = rows[np.random.default_rng(0).choice(len(rows), k, replace=False)]
    return _Data(rows, start, path, memory, folder)


def _model(data: _Data) -> Any:
    from fastclust import KMeans

    return KMeans(len(data.start), init=data.start, n_init=1, max_iter=_ITERATIONS, tol=0, algorithm="lloyd")


def _in_memory(data: _Data) -> Callable[[], Any]:
    return lambda: _model(data).fit(data.rows)


def _streamed(data: _Data) -> Callable[[], Any]:
    from fastclust import open_rows

    return lambda: _model(data).fit(open_rows(data.path, memory=data.memory))


def _figures(data: _Data, model: Any) -> dict[str, float]:
    """The memory of one more fit: as anonymous pages, since those of the file belong to the system's cache."""
    if model is data.reference:
        return {}
    with machine.watched_anonymous() as most:
        _streamed(data)()
    return {"anonymous_bytes": float(most[0])}


def _gate(data: _Data, model: Any) -> Verdict:
    if data.reference is None:
        data.reference = model
    same = (
        np.array_equal(model.cluster_centers_, data.reference.cluster_centers_)
        and np.array_equal(model.labels_, data.reference.labels_)
        and (model.inertia_, model.n_iter_) == (data.reference.inertia_, data.reference.n_iter_)
    )
    return Verdict(bool(same), "the bits of rows in memory" if same else "other bits than rows in memory")


def _problem(
    name: str, rows: Callable[[], NDArray[np.float32]], shape: tuple[int, int, int], memory: int, *, reading: bool
) -> Problem:
    n, d, k = shape
    return Problem(
        f"streamed, {name} {n}x{d} k={k}, {_ITERATIONS} iterations, {4 * n * d / memory:.1f}x the memory allowed",
        lambda: _load(rows(), k, memory),
        [
            Contender("in memory", _in_memory, remark="ours"),
            Contender(OURS, _streamed, remark=f'open_rows(..., memory="{memory // 10**6}MB")'),
        ],
        _gate,
        # Every iteration and the labels at the end read the rows once; with few clusters that is what it is about.
        bytes=4.0 * n * d * (_ITERATIONS + 1),
        ceilings={"file-read": {}} if reading else {},
        figures=_figures,
        targets=[
            Target("80 % of the speed in memory", 0.8, peer="in memory"),
            # The labels of all rows come on top.
            Target(_HELD, memory + 4 * n, figure="anonymous_bytes", at_most=True),
        ],
        rounds=5,
        seconds=30.0,
    )


def _problems(size: str) -> Sequence[Problem]:
    if size == "small":
        n = 300_000
        rows = lambda: datasets.clustered(n, 128, 256, spread=0.7)  # noqa: E731 - a name for a short recipe
        return [_problem("clustered", rows, (n, 128, 256), 64 * 10**6, reading=False)]
    n = 2_000_000
    rows = lambda: datasets.clustered(n, 128, 256, spread=0.7)  # noqa: E731 - the same
    return [
        _problem("clustered", rows, (n, 128, 256), 256 * 10**6, reading=False),
        _problem("clustered", rows, (n, 128, 16), 256 * 10**6, reading=True),
        _problem("clustered, 4 GB", _four_gigabytes, (8_000_000, 128, 256), 512 * 10**6, reading=False),
    ]


def _four_gigabytes() -> NDArray[np.float32]:
    """Such rows, made in place: what they are made of would take as much memory twice more."""
    rng = np.random.default_rng(0)
    means = np.float32(0.7) * rng.standard_normal((256, 128), np.float32)
    rows = rng.standard_normal((8_000_000, 128), np.float32)
    for low in range(0, len(rows), 100_000):
        rows[low : low + 100_000] += means[rng.integers(256, size=100_000)]
    return rows


CASE = Case("out-of-core", "k-means on rows that are read from a file in every iteration", _problems)
